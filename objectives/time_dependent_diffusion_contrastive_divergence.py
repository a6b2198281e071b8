"""Diffusion contrastive divergence of an energy at every noise level, each interval anchored anew."""

from typing import Annotated

from torch import Tensor

from bench.api import (
    Energy,
    Integer,
    Linear,
    Log,
    Rng,
    StepSize,
    mala,
    noise_interval,
    objective,
    per_example,
    posterior_steps,
    tethered,
)


@objective(
    family="diffusion contrastive divergence",
    divergence="anchored diffusion contrastive",
    bias={"steps": -1},
    energy="noise",
    minimiser="smoothed",
    source="Luo et al. 2023, arXiv 2307.01668; Gao et al. 2021, arXiv 2012.08125",
    note="One objective with diffusion_recovery_likelihood, which differs in chain and weights; with fine levels it is "
    "multiscale_denoising_score_matching with weights of its own. Evaluated at sigma_min.",
    proof={"levels": 3, "steps": 60, "sigma_min": 0.3},
)
def time_dependent_diffusion_contrastive_divergence(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Log(1e-3, 1.0)] = 0.05,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 2.0,
    levels: Annotated[int, Integer(1, 1000)] = 8,
    steps: Annotated[int, Integer(1, 1000)] = 8,
    step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
    weight: Annotated[float, Linear(-2.0, 2.0)] = 0.0,
) -> Tensor:
    r"""(σ₀/σₖ)^w [E(xₖ, σₖ) - E(x', σₖ)], x' = sg(`steps` MALA transitions on q(x'|y) from y), k uniform in 0..K-1.

    σ₀ = σ_min, ..., σ_K = σ_max are geometric; xₖ = x + σₖε; y = xₖ + √(σₖ₊₁² - σₖ²) ε'; and q(x'|y) ∝
    exp(-E(x', σₖ) - ‖x' - y‖² / 2(σₖ₊₁² - σₖ²)). The expected gradient at level k, for chains that have converged, is
    that of KL(pₖ‖qₖ) - KL(pₖ₊₁‖Kₖqₖ) >= 0, where q at level k + 1 is the noised qₖ, not the energy's own: the plain
    difference of two levels' divergences can be negative and is no divergence. Each level is stationary at
    exp(-E(·, σₖ)) = p * N(0, σₖ²I); a constant of each level is not determined.

    Args:
        energy: noise-conditional, energy(x, sigma) with sigma (*batch,).
        x: data (*batch, *event).
        sigma_min, sigma_max: the ends of the noise levels, in units of x.
        levels: K, the number of intervals.
        steps: transitions of a chain.
        step_size: ε of a chain on exp(-E(·, 0)) alone; given in units of local_scale². At level k the data's law is
            wider by σₖ², and so is the step; it falls along the chain as in the recovery of a static energy.
        weight: w; 1 is that of Gao et al., 0 the plain sum of divergences.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    here = noise_interval(x, rng, sigma_min=sigma_min, sigma_max=sigma_max, levels=levels)
    x_k = x + per_example(here.sigma, x) * rng.normal_like(x)
    y = x_k + per_example(here.gap, x) * rng.normal_like(x)

    def level(u: Tensor) -> Tensor:
        return energy(u, here.sigma)

    dim = x.flatten(rng.batch_ndim).shape[-1]
    schedule = posterior_steps(here.gap.square(), step_size + here.sigma.square(), steps=steps, dim=dim)
    posterior = tethered(level, y, rng, sigma=here.gap)
    negatives = mala(posterior, y, rng, steps=steps, step_size=schedule).x
    return (sigma_min / here.sigma) ** weight * (level(x_k) - level(negatives))
