"""Diffusion contrastive divergence at every noise level, whose chains share their noise with the data."""

from math import prod, sqrt
from typing import Annotated, Any

from torch import Tensor

from bench.api import (
    Energy,
    Integer,
    Linear,
    Log,
    NoiseInterval,
    Rng,
    Sigma,
    conditioned,
    exponential_langevin,
    largest_level,
    noise_interval,
    noised_twice,
    objective,
    posterior_energy,
    shared_noise,
)


def _recover(
    energy: Energy, y: Tensor, here: NoiseInterval, rng: Rng, steps: int, relaxation: float, eta: Tensor | None = None
) -> Tensor:
    """x' ~ q(x'|y) at the interval's lower level, by chains whose noise adds up to η if it is given."""
    posterior = posterior_energy(conditioned(energy, here.sigma), y, rng, sigma=here.gap)
    v = 1 / (1 / here.sigma.square() + 1 / here.gap.square())
    shares = [1.0, *[relaxation] * (steps - 1)]
    reaching = [sqrt(c * (2 - c)) * prod(1 - later for later in shares[k + 1 :]) for k, c in enumerate(shares)]
    noise = None if eta is None else shared_noise(eta, reaching, rng)
    return exponential_langevin(posterior, y, rng, shares=shares, variance=v, noise=noise)


def _level_by_level(
    energy: Energy, x_like: Tensor, rng: Rng, *, levels: int, steps: int, relaxation: float, **noise: Any
) -> Tensor:
    """From the highest trained level down to σ_min by the chains of training."""
    intervals = [noise_interval(x_like, rng, levels=levels, k=k, **noise) for k in range(levels)]
    x = largest_level(energy, x_like, rng, sigma=float(intervals[-1].sigma.flatten()[0]))
    for here in reversed(intervals[:-1]):
        x = _recover(energy, x, here, rng, steps, relaxation)
    return x


@objective(
    label="DCD-TD-coupled",
    family="diffusion contrastive divergence",
    energy="noise",
    levels="intervals",
    minimiser="smoothed",
    source="this project; the divergence of Luo et al. 2023, arXiv 2307.01668, and Gao et al. 2021, arXiv 2012.08125",
    note="The objective of time_dependent_diffusion_contrastive_divergence with other chains; with one step and fine "
    "levels it is multiscale_denoising_score_matching to first order. Evaluated at sigma_min.",
    proof={"levels": 16, "steps": 60, "relaxation": 0.1, "sigma_min": 0.3},
    sampler=_level_by_level,
)
def time_dependent_diffusion_contrastive_divergence_coupled(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 0.5,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 2.0,
    levels: Annotated[int, Integer(1, 1000)] = 8,
    steps: Annotated[int, Integer(1, 1000)] = 4,
    relaxation: Annotated[float, Linear(0.01, 1.0)] = 0.5,
) -> Tensor:
    r"""E(xₖ, σₖ) - E(x', σₖ), x' = sg(`steps` transitions on U = E(·, σₖ) + ‖· - y‖²/2s² from y), k uniform in 0..K-1.

    σ₀ = σ_min, ..., σ_K = σ_max are geometric; xₖ = x + σₖε; y = xₖ + sε', s² = σₖ₊₁² - σₖ². A transition is

        x <- x - c v ∇U(x) + √(c (2 - c) v) ξ,   1/v = 1/s² + 1/σₖ²,

    with c = 1 at first and then `relaxation`. It leaves N(m, vI) invariant, which is the posterior's law across the
    data, and the first transition draws from it. Along the data the posterior is up to s² wide, and there the chains
    end too narrow, by (2 - c) / (2 - cv/s²) in the variance: small c or fine levels are unbiased.

    The ξ are drawn such that their sum, weighted as they reach x' were U Gaussian of variance v, is η = (sε - σₖε') /
    σₖ₊₁, the innovation of xₖ given y. They are independent N(0, I) and independent of x and y, so that the expected
    gradient stays what it was. But across the data xₖ and x' now move together, and their difference is v times the
    error of a denoised score, where two independent draws would leave their noise.

    Args:
        energy: noise-conditional, energy(x, sigma) of data x (*batch, *event) and noise levels sigma (*batch,).
        sigma_min, sigma_max, levels: the ends of the noise levels, in units of local_scale and of x; K intervals.
        steps: transitions of a chain.
        relaxation: c, the share of the way to the posterior's mean that a transition goes across the data.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    here = noise_interval(x, rng, sigma_min=sigma_min, sigma_max=sigma_max, levels=levels)
    x_k, y, eta = noised_twice(x, here, rng)
    negatives = _recover(energy, y, here, rng, steps, relaxation, eta)
    return energy(x_k, here.sigma) - energy(negatives, here.sigma)
