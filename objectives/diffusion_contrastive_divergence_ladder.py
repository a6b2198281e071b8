"""Diffusion contrastive divergence over a ladder of noise scales, for one static energy."""

from typing import Annotated

from torch import Tensor

from bench.api import (
    Choice,
    Energy,
    Integer,
    Log,
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
    label="DCD-ladder",
    family="diffusion contrastive divergence",
    divergence="diffusion contrastive",
    bias={"steps": -1},
    source="Luo et al. 2023, arXiv 2307.01668; the weights are those of Gao et al. 2021, arXiv 2012.08125",
)
def diffusion_contrastive_divergence_ladder(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 1.0,
    sigma_max: Annotated[float, Log(1e-2, 10.0)] = 0.9,
    levels: Annotated[int, Integer(2, 100)] = 4,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
    steps: Annotated[int, Integer(1, 1000)] = 10,
    step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
) -> Tensor:
    r"""(σ₁/σₖ)(E(x) - E(x')), x' = sg(MALA on q(x'|y) ∝ exp(-E(x') - ‖y - αₖx'‖²/2σₖ²) from x), y = αₖx + σₖε.

    The level k is uniform on 1, ..., L, drawn for each example.

    A sum over k of the divergences KL(p‖q) - KL(p_k‖q_k), p_k and q_k being p and q noised by σₖ, with weights σ₁/σₖ,
    under which every level's loss is about as noisy. The levels σ₁ = `sigma_min` to σ_L = `sigma_max` are evenly
    spaced in logarithm; small ones see the shape of a mode, large ones the weights of neighbouring modes. The chain
    starts at the data: stationary at q = p for every number of steps.

    Args:
        x: data (*batch, *event).
        sigma_min: the smallest noise level of the ladder; given in units of local_scale.
        sigma_max: the largest, in units of x.
        levels: L.
        kernel: "ve", α = 1, or "vp", α² = 1 - σ²; the latter is the former at σ/α.
        steps: transitions of a chain.
        step_size: ε of a chain on exp(-E) alone; given in units of local_scale². A chain's steps fall from near
            vₖ = (σₖ/αₖ)², which suits a flat energy, to 1 / (1/ε + 1/vₖ), which suits one as sharp as the data, both
            times d^(-1/3) in d dimensions.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    level = rng.integers(levels, x.shape[: rng.batch_ndim]).to(x.dtype) / (levels - 1)
    sigma = sigma_min * (sigma_max / sigma_min) ** level
    y, _, v, alpha = noised(x, rng.normal_like(x), sigma, kernel, largest=sigma_max)
    posterior = posterior_energy(energy, y, rng, sigma=sigma, alpha=alpha)
    schedule = posterior_steps(v, step_size, steps=steps, dim=x.flatten(rng.batch_ndim).shape[-1])
    negatives = mala(posterior, x, rng, steps=steps, step_size=schedule).x
    return (sigma_min / sigma) * (energy(x) - energy(negatives))
