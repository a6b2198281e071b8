"""Diffusion contrastive divergence, posterior chains from the noised point: recovery likelihood at one noise level."""

from typing import Annotated

from torch import Tensor

from bench.api import (
    Choice,
    Energy,
    Integer,
    Rng,
    Sigma,
    StepSize,
    langevin,
    mala,
    noised,
    objective,
    posterior_energy,
    posterior_steps,
)


@objective(
    label="DCD-recovery",
    family="diffusion contrastive divergence",
    divergence="diffusion contrastive",
    bias={"steps": -1},
    source="Luo et al. 2023, arXiv 2307.01668; Gao et al. 2021, arXiv 2012.08125 (recovery likelihood)",
    note="Chains too short to leave the noised point bias it.",
    proof={"sigma": 0.5, "steps": 40},
)
def diffusion_contrastive_divergence_recovery(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Sigma(1e-3, 100.0)] = 1.5,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
    steps: Annotated[int, Integer(1, 1000)] = 10,
    step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
    sampler: Annotated[str, Choice("mala", "langevin")] = "mala",
) -> Tensor:
    r"""E(x) - E(x'), x' = sg(K = `steps` transitions on q(x'|y) ∝ exp(-E(x') - ‖y - αx'‖²/2σ²) from y/α), y = αx + σε.

    The gradient of KL(p‖q) - KL(p_T‖q_T) = E_y KL(p(x|y) ‖ q(x|y)) is E_p[∇θE(x)] - E_y E_{q(x'|y)}[∇θE(x')], with
    the posterior sampled by a chain: consistent as K -> ∞ (and the step -> 0 with "langevin"). At finite K the
    negatives remember the noised point, so the fixed point is off q = p by what they have not forgotten. σ -> 0 is
    score matching, σ -> ∞ maximum likelihood, at the price of a wider posterior to explore.

    Args:
        x: data (*batch, *event).
        sigma: σ; given in units of local_scale.
        kernel: "ve", α = 1, or "vp", α² = 1 - σ²; the latter is the former at σ/α.
        steps: K.
        step_size: ε of a chain on exp(-E) alone; given in units of local_scale². The chain's steps fall from near
            v = (σ/α)², which suits a flat energy, to 1 / (1/ε + 1/v), which suits one as sharp as the data, both
            times d^(-1/3) in d dimensions.
        sampler: "mala" leaves q(·|y) exactly invariant; "langevin" skips the Metropolis test.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    y, z, v, alpha = noised(x, rng.normal_like(x), sigma, kernel)
    posterior = posterior_energy(energy, y, rng, sigma=sigma, alpha=alpha)
    schedule = posterior_steps(v, step_size, steps=steps, dim=x.flatten(rng.batch_ndim).shape[-1])
    if sampler == "mala":
        negatives = mala(posterior, z, rng, steps=steps, step_size=schedule).x
    else:
        negatives = langevin(posterior, z, rng, steps=steps, step_size=schedule)
    return energy(x) - energy(negatives)
