"""Samplers over noise levels, from the largest to the smallest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from torch import Tensor

from bench.core.derivatives import Energy, as_tensor_like, conditioned, score
from bench.core.noising import noise_levels, posterior_steps
from bench.core.rng import Rng
from bench.samplers.langevin import langevin, posterior_energy
from bench.samplers.metropolis import mala

TOP_STEPS = 100  # at the largest noise level, whose law is smooth and nearly one mode
ANCESTRAL_LEVELS = 200  # with half as many, FID on clothes is 3 to 7 % higher


def at_level(energy: Energy, sigma: float, rng: Rng) -> Energy:
    """x -> E(x, σ): a noise-conditional energy at one level."""
    return conditioned(energy, lambda x: x.new_full(x.shape[: rng.batch_ndim], sigma))


def largest_level(energy: Energy, x_like: Tensor, rng: Rng, *, sigma: float) -> Tensor:
    """Draws of exp(-E(·, σ)) at a noise level σ as wide as the data: MALA from N(0, 2σ²I).

    Args:
        x_like: (*batch, *event), for shape and dtype.
        sigma: the largest level that was trained, in units of x.
    """
    start = 2**0.5 * sigma * rng.normal_like(x_like)
    dim = x_like.flatten(rng.batch_ndim).shape[-1]
    level = at_level(energy, sigma, rng)
    return mala(level, start, rng, steps=TOP_STEPS, step_size=0.5 * sigma**2 * dim ** (-1 / 3)).x


def annealed(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigmas: Iterable[float] | Tensor,
    steps: int,
    step_size: float,
    adjusted: bool = True,
) -> Tensor:
    """Chains on a noise-conditional energy, level after level, the largest σ first.   (Song & Ermon 2019)

    At σ the step is ε = `step_size` · σ² d^(-1/3), as no law that was noised by σ is narrower than σ.

    Args:
        energy: energy(x, sigma) with sigma (*batch,).
        x: starting points (*batch, *event), as of the largest level; not changed.
        sigmas: the noise levels in units of x, in any order.
        steps: transitions a level.
        step_size: in units of σ² d^(-1/3), for unadjusted chains, too; these need one well below 1.
        adjusted: MALA; else unadjusted Langevin.

    Returns:
        Points of the smallest level, detached, (*batch, *event).
    """
    scale = step_size * x.flatten(rng.batch_ndim).shape[-1] ** (-1 / 3)
    for sigma in sorted(map(float, sigmas), reverse=True):
        level, epsilon = at_level(energy, sigma, rng), scale * sigma**2
        if adjusted:
            x = mala(level, x, rng, steps=steps, step_size=epsilon).x
        else:
            x = langevin(level, x, rng, steps=steps, step_size=epsilon)
    return x


def ancestral(energy: Energy, x: Tensor, rng: Rng, *, sigmas: Iterable[float] | Tensor) -> Tensor:
    """One draw a level: x <- x + (σ² - σ'²) s(x, σ) + √(σ² - σ'²) (σ'/σ) z, from each σ to the next smaller σ'.

    That is the law of the point at σ' given the one at σ and the datum, the datum being replaced by its conditional
    mean x + σ²s(x, σ) (Ho et al. 2020; Song et al. 2021): exact as levels lie close.

    Args:
        energy: energy(x, sigma) with sigma (*batch,).
        x: points of the largest level (*batch, *event); not changed.
        sigmas: the noise levels in units of x, in any order; the smallest may be 0.

    Returns:
        Points of the smallest level, detached, (*batch, *event).
    """
    return ancestral_by_score(lambda y, sigma: score(at_level(energy, sigma, rng), y), x, rng, sigmas=sigmas)


def ancestral_by_score(
    score_at: Callable[[Tensor, float], Tensor], x: Tensor, rng: Rng, *, sigmas: Iterable[float] | Tensor
) -> Tensor:
    """`ancestral` by a score s(x, σ) that need not be of an energy."""
    x = x.detach()
    for sigma, smaller in pairwise(sorted(map(float, sigmas), reverse=True)):
        gap = sigma**2 - smaller**2
        x = x + gap * score_at(x, sigma) + gap**0.5 * smaller / sigma * rng.normal_like(x)
    return x


def level_by_level(energy: Energy, x: Tensor, rng: Rng, *, sigmas: Iterable[float] | Tensor, steps: int) -> Tensor:
    """From each σ to the next smaller σ', x ~ q(x|y) ∝ exp(-E(x, σ') - ‖x - y‖² / 2(σ² - σ'²)) by MALA from y.

    Right for levels that lie far apart, where one ancestral step is not.   (Gao et al. 2021)

    Args:
        energy: energy(x, sigma) with sigma (*batch,).
        x: points of the largest level (*batch, *event); not changed.
        sigmas: the noise levels in units of x, in any order.
        steps: transitions a level.

    Returns:
        Points of the smallest level, detached, (*batch, *event).
    """
    x, dim = x.detach(), x.flatten(rng.batch_ndim).shape[-1]
    for sigma, smaller in pairwise(sorted(map(float, sigmas), reverse=True)):
        gap = sigma**2 - smaller**2
        posterior = posterior_energy(at_level(energy, smaller, rng), x, rng, sigma=gap**0.5)
        schedule = posterior_steps(as_tensor_like(gap, x), smaller**2, steps=steps, dim=dim)
        x = mala(posterior, x, rng, steps=steps, step_size=schedule).x
    return x


def ancestral_from_noise(
    energy: Energy, x_like: Tensor, rng: Rng, *, sigma_min: float, sigma_max: float, **_: object
) -> Tensor:
    """`ancestral` from the largest level's own law to σ_min and on to 0: the sampler of energies of every level.

    The last step is to the datum's mean x + σ_min² s(x, σ_min). Draws of σ_min have that much noise in each of d
    dimensions, which image metrics see and a person does not.   (Jolicoeur-Martineau et al. 2021)

    Args:
        x_like: (*batch, *event), for shape and dtype.
        sigma_min, sigma_max: the range of noise levels, in units of x.
    """
    start = largest_level(energy, x_like, rng, sigma=sigma_max)
    levels = noise_levels(sigma_min, sigma_max, ANCESTRAL_LEVELS, x_like)
    return ancestral(energy, start, rng, sigmas=[0.0, *levels.tolist()])
