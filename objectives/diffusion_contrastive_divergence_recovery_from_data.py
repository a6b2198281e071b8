"""Diffusion contrastive divergence, posterior chains from the data: unbiased at the truth however short."""

from typing import Annotated

from torch import Tensor

from bench.api import (
    Choice,
    Energy,
    Integer,
    Rng,
    Sigma,
    StepSize,
    mala,
    noised,
    objective,
    posterior_energy,
    posterior_steps,
)


@objective(
    label="DCD-recovery-data",
    family="diffusion contrastive divergence",
    divergence="diffusion contrastive",
    bias={"steps": -1},
    source="a variant of this project's own, after Luo et al. 2023, arXiv 2307.01668",
)
def diffusion_contrastive_divergence_recovery_from_data(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Sigma(1e-3, 100.0)] = 3.0,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
    steps: Annotated[int, Integer(1, 1000)] = 10,
    step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
) -> Tensor:
    r"""E(x) - E(x'), x' = sg(K = `steps` of MALA on q(x'|y) ∝ exp(-E(x') - ‖y - αx'‖²/2σ²) from x), y = αx + σε.

    The chain starts at the very x that y was made of. When q = p that x is an exact draw of q(·|y), which MALA leaves
    invariant: so the loss is stationary at q = p for every K and every step. Away from the truth the gradient is that
    of KL(p‖q) - KL(p_T‖q_T) truncated as contrastive divergence truncates it, and tends to it as K -> ∞. It is blind
    to modes of q that no chain reaches from the data. σ -> ∞ is contrastive divergence by MALA.

    Args:
        x: data (*batch, *event).
        sigma: σ; given in units of local_scale.
        kernel: "ve", α = 1, or "vp", α² = 1 - σ²; the latter is the former at σ/α.
        steps: K.
        step_size: ε of a chain on exp(-E) alone; given in units of local_scale². The chain's steps fall from near
            v = (σ/α)², which suits a flat energy, to 1 / (1/ε + 1/v), which suits one as sharp as the data, both
            times d^(-1/3) in d dimensions.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    y, _, v, alpha = noised(x, rng.normal_like(x), sigma, kernel)
    posterior = posterior_energy(energy, y, rng, sigma=sigma, alpha=alpha)
    schedule = posterior_steps(v, step_size, steps=steps, dim=x.flatten(rng.batch_ndim).shape[-1])
    negatives = mala(posterior, x, rng, steps=steps, step_size=schedule).x
    return energy(x) - energy(negatives)
