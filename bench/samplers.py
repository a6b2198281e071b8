"""Markov chains on exp(-E). The step convention everywhere: x <- x + (ε/2) s(x) + √ε z, with ε = `step_size`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from bench.calculus import Energy, energy_and_score, per_example, placed_as, score, sum_event
from bench.diffusion import noise_levels, posterior_steps
from bench.rng import Rng

StepSize = float | Tensor
Schedule = StepSize | Sequence[StepSize]
TOP_STEPS = 100  # at the largest noise level, whose law is smooth and nearly one mode
ANCESTRAL_LEVELS = 200  # with half as many, FID on clothes is 3 to 7 % higher


class Chain(NamedTuple):
    """Where the chains ended, (*batch, *event), and the mean acceptance rate of each, (*batch,)."""

    x: Tensor
    acceptance: Tensor


class Counter:
    """How many transitions all chains of this process have made; read by the meter, reset by nobody."""

    steps = 0


def _transitions(steps: int) -> Iterator[int]:
    for k in range(steps):
        Counter.steps += 1
        yield k


def _expand(step_size: StepSize, x: Tensor, rng: Rng) -> Tensor:
    """ε as a tensor that broadcasts against x; a tensor given by the caller has batch shape (or is a scalar)."""
    return per_example(placed_as(step_size, x).expand(x.shape[: rng.batch_ndim]), x)


def _schedule(step_size: Schedule, x: Tensor, rng: Rng) -> list[Tensor]:
    """ε of the first transitions, as `_expand` gives it; the last goes on."""
    return [_expand(epsilon, x, rng) for epsilon in (step_size if isinstance(step_size, Sequence) else [step_size])]


def langevin(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    steps: int,
    step_size: Schedule,
    temperature: float = 1.0,
    noise: Sequence[Tensor] | None = None,
) -> Tensor:
    """Unadjusted Langevin: x <- x + (ε/2) s(x) + √(τε) z, z ~ N(0, I).   (Rossky et al. 1978; Parisi 1981)

    At τ = 1 its law tends to q ∝ exp(-E) as ε -> 0; on a Gaussian of variance v it is stationary at v / (1 - ε/4v).
    At another τ it samples exp(-E/τ).

    Args:
        x: starting points (*batch, *event); not changed.
        step_size: ε > 0 in squared units of x, one number or one a chain (*batch,); or a list of these, one
            a transition, whose last goes on.
        temperature: τ.
        noise: z of each transition, shaped as x; drawn if None.

    Returns:
        The end points, detached, (*batch, *event).
    """
    scales = [(0.5 * epsilon, (temperature * epsilon).sqrt()) for epsilon in _schedule(step_size, x, rng)]
    x = x.detach()
    for k in _transitions(steps):
        drift, spread = scales[min(k, len(scales) - 1)]
        x = x + drift * score(energy, x) + spread * (rng.normal_like(x) if noise is None else noise[k])
    return x


def exponential_langevin(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    shares: Sequence[float],
    variance: Tensor,
    noise: Sequence[Tensor] | None = None,
) -> Tensor:
    """Langevin by the exponential integrator of N(m, vI): x <- x + c v s(x) + √(c (2 - c) v) z, z ~ N(0, I).

    It is `langevin` with ε = 2cv at the temperature 1 - c/2, and leaves N(m, vI) invariant at every c; c = 1 draws from
    it at once. Where q is wider, of variance w > v, the chain is stationary at w (2 - c) / (2 - cv/w).

    Args:
        x: starting points (*batch, *event); not changed.
        shares: 0 < c <= 1 for each transition, the part of the way to the mean that is gone.
        variance: v in squared units of x, a scalar or one a chain (*batch,).
        noise: z of each transition, shaped as x; drawn if None.

    Returns:
        The end points, detached, (*batch, *event).
    """
    v, x = _expand(variance, x, rng), x.detach()
    for k in _transitions(len(shares)):
        z = rng.normal_like(x) if noise is None else noise[k]
        x = x + shares[k] * v * score(energy, x) + (shares[k] * (2 - shares[k]) * v).sqrt() * z
    return x


def mala(energy: Energy, x: Tensor, rng: Rng, *, steps: int, step_size: Schedule) -> Chain:
    """Langevin proposals with a Metropolis-Hastings test: q is exactly invariant.   (Roberts & Tweedie 1996)

    Accepts y with probability min(1, exp(E(x) - E(y)) k(x|y) / k(y|x)), k(y|x) = N(y; x + (ε/2) s(x), ε I).

    Args:
        x: starting points (*batch, *event); not changed.
        step_size: ε > 0 in squared units of x, one number or one a chain (*batch,); or a list of these, one
            a transition, whose last goes on.
    """
    schedule = _schedule(step_size, x, rng)
    x = x.detach()
    here, drift = energy_and_score(energy, x)
    accepted = torch.zeros_like(here)
    for k in _transitions(steps):
        epsilon = schedule[min(k, len(schedule) - 1)]
        z = rng.normal_like(x)
        y = x + 0.5 * epsilon * drift + epsilon.sqrt() * z
        there, drift_y = energy_and_score(energy, y)
        backward = sum_event((x - y - 0.5 * epsilon * drift_y).square(), rng) / epsilon.reshape(here.shape)
        log_ratio = here - there + 0.5 * (sum_event(z.square(), rng) - backward)
        # a non-finite proposal compares false, so it is rejected
        accept = rng.uniform_like(here).log() < log_ratio
        x, drift, here = (
            torch.where(per_example(accept, old), new, old) for new, old in ((y, x), (drift_y, drift), (there, here))
        )
        accepted = accepted + accept.to(accepted.dtype)
    return Chain(x, accepted / max(steps, 1))


def hmc(energy: Energy, x: Tensor, rng: Rng, *, steps: int, step_size: StepSize, leapfrogs: int = 5) -> Chain:
    """Hamiltonian Monte Carlo with unit mass: q is exactly invariant.   (Duane et al. 1987)

    One transition draws a momentum and takes `leapfrogs` steps of length √ε, so that one leapfrog is `mala` at the
    same ε; then a Metropolis test on the change of E(x) + ½‖momentum‖².
    """
    length = _expand(step_size, x, rng).sqrt()
    x = x.detach()
    here, force = energy_and_score(energy, x)
    accepted = torch.zeros_like(here)
    for _ in _transitions(steps):
        momentum = rng.normal_like(x)
        start = here + 0.5 * sum_event(momentum.square(), rng)
        y, force_y, there = x, force, here
        for _ in range(leapfrogs):
            momentum = momentum + 0.5 * length * force_y
            y = y + length * momentum
            there, force_y = energy_and_score(energy, y)
            momentum = momentum + 0.5 * length * force_y
        log_ratio = start - there - 0.5 * sum_event(momentum.square(), rng)
        accept = rng.uniform_like(here).log() < log_ratio
        x, force, here = (
            torch.where(per_example(accept, old), new, old) for new, old in ((y, x), (force_y, force), (there, here))
        )
        accepted = accepted + accept.to(accepted.dtype)
    return Chain(x, accepted / max(steps, 1))


def tethered(energy: Energy, y: Tensor, rng: Rng, *, sigma: float | Tensor, alpha: float | Tensor = 1.0) -> Energy:
    """The posterior energy E(x) + ‖y - αx‖² / 2σ² of x given the noised point y = αx + σε, up to a constant.

    Chains on it sample q(x|y); σ and α are numbers or of batch shape (*batch,).
    """
    variance, scale = placed_as(sigma, y).square(), placed_as(alpha, y)

    def posterior(x: Tensor, *condition: Tensor) -> Tensor:
        pull = sum_event((y - per_example(scale, x) * x).square(), rng)
        return energy(x, *condition) + pull / (2 * variance)

    return posterior


def at_level(energy: Energy, sigma: float, rng: Rng) -> Energy:
    """x -> E(x, σ): a noise-conditional energy at one level."""
    return lambda x: energy(x, x.new_full(x.shape[: rng.batch_ndim], sigma))


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
    x = x.detach()
    for sigma, smaller in pairwise(sorted(map(float, sigmas), reverse=True)):
        gap = sigma**2 - smaller**2
        x = x + gap * score(at_level(energy, sigma, rng), x) + gap**0.5 * smaller / sigma * rng.normal_like(x)
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
        posterior = tethered(at_level(energy, smaller, rng), x, rng, sigma=gap**0.5)
        schedule = posterior_steps(placed_as(gap, x), smaller**2, steps=steps, dim=dim)
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
