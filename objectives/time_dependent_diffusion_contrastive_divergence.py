"""Diffusion contrastive divergence of an energy at every noise level, each interval anchored anew."""

from typing import Annotated, Any

from torch import Tensor

from bench.api import (
    Choice,
    Energy,
    Integer,
    Linear,
    Log,
    NoiseInterval,
    Rng,
    Sigma,
    StepSize,
    conditioned,
    largest_level,
    mala,
    noise_interval,
    objective,
    per_example,
    posterior_energy,
    posterior_steps,
)


def _recover(energy: Energy, y: Tensor, here: NoiseInterval, rng: Rng, steps: int, step_size: float) -> Tensor:
    """x' ~ q(x'|y) at the interval's lower level."""
    posterior = posterior_energy(conditioned(energy, here.sigma), y, rng, sigma=here.gap, alpha=here.decay)
    own = here.alpha.square() * step_size + here.sigma.square()
    dim = y.flatten(rng.batch_ndim).shape[-1]
    schedule = posterior_steps((here.gap / here.decay).square(), own, steps=steps, dim=dim)
    return mala(posterior, y / per_example(here.decay, y), rng, steps=steps, step_size=schedule).x


def _level_by_level(
    energy: Energy, x_like: Tensor, rng: Rng, *, levels: int, steps: int, step_size: float, weight: float, **noise: Any
) -> Tensor:
    """From the highest trained level down to σ_min by the chains of training; less the last level's αₖ."""
    intervals = [noise_interval(x_like, rng, levels=levels, k=k, **noise) for k in range(levels)]
    x = largest_level(energy, x_like, rng, sigma=float(intervals[-1].sigma.flatten()[0]))
    for here in reversed(intervals[:-1]):
        x = _recover(energy, x, here, rng, steps, step_size)
    return x / per_example(intervals[0].alpha, x)


@objective(
    label="DCD-TD",
    family="diffusion contrastive divergence",
    divergence="anchored diffusion contrastive",
    bias={"steps": -1},
    energy="noise",
    levels="intervals",
    minimiser="smoothed",
    source="Luo et al. 2023, arXiv 2307.01668; Gao et al. 2021, arXiv 2012.08125",
    note="DRL differs in chain and weights; with fine levels it is MDSM, weights included. Evaluated at sigma_min.",
    proof={"levels": 3, "steps": 60, "sigma_min": 0.3},
    sampler=_level_by_level,
)
def time_dependent_diffusion_contrastive_divergence(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 0.5,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 2.0,
    levels: Annotated[int, Integer(1, 1000)] = 8,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
    steps: Annotated[int, Integer(1, 1000)] = 8,
    step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
    weight: Annotated[float, Linear(-2.0, 2.0)] = 0.0,
) -> Tensor:
    r"""(σ₀/σₖ)^w [E(xₖ, σₖ) - E(x', σₖ)], x' = sg(`steps` MALA transitions on q(x'|y) from y/a), k uniform in 0..K-1.

    σ₀ = σ_min, ..., σ_K = σ_max are geometric; xₖ = αₖx + σₖε; y = a xₖ + s ε' with a = αₖ₊₁/αₖ, s² = σₖ₊₁² - a²σₖ²;
    and q(x'|y) ∝ exp(-E(x', σₖ) - ‖y - ax'‖² / 2s²). The expected gradient at level k, for chains that have converged,
    is that of KL(pₖ‖qₖ) - KL(pₖ₊₁‖Kₖqₖ) >= 0, where q at level k + 1 is the noised qₖ, not the energy's own: the plain
    difference of two levels' divergences can be negative. Each level is stationary at the energy of xₖ plus a constant.

    As K -> ∞ the K divergences add up to ½∫ E‖∇log p_σ - s(x, σ)‖² dσ² ("ve"): the loss of denoising score matching
    with weight σ² and ln σ uniform, times 2 ln(σ_K/σ₀).

    Args:
        energy: noise-conditional, energy(x, sigma) of data x (*batch, *event) and noise levels sigma (*batch,).
        sigma_min, sigma_max, levels: the ends of the noise levels, in units of local_scale and of x; K intervals.
        kernel: "ve", α = 1, or "vp", α² = 1 - σ², for data of about unit variance and sigma_max < 1.
        steps: transitions of a chain.
        step_size: ε of a chain on exp(-E(·, 0)) alone; given in units of local_scale². At level k the data's law is
            wider by σₖ², and so is the step; it falls along the chain as in the recovery of a static energy.
        weight: w; 1 is that of Gao et al., 0 the plain sum of divergences.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    here = noise_interval(x, rng, sigma_min=sigma_min, sigma_max=sigma_max, levels=levels, kernel=kernel)
    x_k = per_example(here.alpha, x) * x + per_example(here.sigma, x) * rng.normal_like(x)
    y = per_example(here.decay, x) * x_k + per_example(here.gap, x) * rng.normal_like(x)
    negatives = _recover(energy, y, here, rng, steps, step_size)
    return (sigma_min / here.sigma) ** weight * (energy(x_k, here.sigma) - energy(negatives, here.sigma))
