r"""Annealed importance sampling between a broad Gaussian and exp(-E).   (Neal 2001)

Particles go along π_β ∝ exp(-(1-β) B - β U), B = -log n the base's energy, from β = 0 to 1. At each temperature they
are weighed, A += (β' - β)(B - U)(u), then moved by a transition that leaves π_β' invariant. E[e^A] = Z = ∫ exp(-U)
whatever the transitions do, so log of the mean weight is a lower bound of log Z in expectation (Jensen).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from bench.core.rng import Rng
from bench.evaluation.likelihood.base import BroadBase, RoundEnergy
from bench.samplers.chain import transitions

LEAPFROGS = 5
ACCEPTANCE = 0.8  # between .6 and .9 the cost of an independent draw hardly changes (Betancourt et al. 2014)
JITTER = 0.3  # of a trajectory's length, so that none returns to where it began
ADAPTED = 3  # transitions of the pilot at each temperature, each of which moves the step
UNEVEN = 0.5  # effective share of the pilot's particles below which they are drawn anew


class Particles(NamedTuple):
    """Points u (n, d), U(u) (n,) in float64, and -∇U(u), (n, d)."""

    u: Tensor
    energy: Tensor
    force: Tensor

    def take(self, index: Tensor) -> Particles:
        """Those of an index, with repeats."""
        return Particles(self.u[index], self.energy[index], self.force[index])


@dataclass(frozen=True)
class Schedule:
    """Temperatures 0 = β₀ < ... < β_K = 1, and the squared leapfrog length of the transitions at β₁, ..., β_K."""

    betas: tuple[float, ...]
    steps: tuple[float, ...]

    def halved(self) -> Schedule:
        """Every second temperature, and the last."""
        kept = sorted({*range(0, len(self.betas), 2), len(self.betas) - 1})
        return Schedule(tuple(self.betas[k] for k in kept), tuple(self.steps[k - 1] for k in kept[1:]))

    def doubled(self) -> Schedule:
        """A temperature between each two: the geometric mean, and half of the first."""
        middles = [math.sqrt(low * high) if low > 0 else high / 2 for low, high in pairwise(self.betas)]
        betas = [0.0, *(b for pair in zip(middles, self.betas[1:], strict=True) for b in pair)]
        return Schedule(tuple(betas), tuple(s for step in self.steps for s in (step, step)))


@dataclass(frozen=True)
class Annealed:
    """Particles at β = 1 with their log weights A, (n,), float64.

    Attributes:
        islands: groups of equal size that know nothing of each other; by default every particle is one.
    """

    particles: Particles
    log_weights: Tensor
    islands: int

    @property
    def log_means(self) -> Tensor:
        """log of each island's mean weight, (islands,)."""
        grouped = self.log_weights.reshape(self.islands, -1)
        return grouped.logsumexp(1) - math.log(grouped.shape[1])

    @property
    def log_z(self) -> float:
        """log of the mean weight, in nats: a lower bound of log Z in expectation."""
        return float(self.log_means.logsumexp(0)) - math.log(self.islands)

    @property
    def stderr(self) -> float:
        """Standard error of `log_z`, by the delta method: √((1/ess - 1) / (islands - 1))."""
        return math.sqrt(max(1 / self.ess - 1, 0.0) / (self.islands - 1)) if self.ess > 0 else math.inf

    @property
    def ess(self) -> float:
        """Effective share of the islands, (Σw)² / (n Σw²), in (0, 1]; 0 where a weight is not a number."""
        share = 1 / (self.islands * float(self.log_means.softmax(0).square().sum()))
        return share if math.isfinite(share) else 0.0

    def resampled(self, n: int, rng: Rng) -> Particles:
        """n particles drawn by weight, which stand for q."""
        return self.particles.take(rng.choice(self.log_weights.softmax(0), (n,)).to(self.particles.u.device))


def particles_at(target: RoundEnergy, u: Tensor) -> Particles:
    """Points with their energy and force."""
    return Particles(u, *target(u))


def move(
    target: RoundEnergy, base: BroadBase, particles: Particles, beta: float, step: float, rng: Rng
) -> tuple[Particles, Tensor]:
    """A transition of Hamiltonian Monte Carlo that leaves π_β invariant, and which particles accepted, (n,).

    Energy and force at β are made of those at 1, so nothing is computed twice when the temperature changes. The
    squared length ε is `step` times a random factor of each particle, which does not depend on where it is.
    """
    factor = 1 - JITTER + 2 * JITTER * rng.uniform_like(particles.energy).to(particles.u)
    length = (step**0.5 * factor)[:, None]
    pull = (1 - beta) / base.scale**2

    def total(p: Particles, momentum: Tensor) -> Tensor:
        return (1 - beta) * base.energy(p.u) + beta * p.energy + 0.5 * momentum.double().square().sum(-1)

    def force(p: Particles) -> Tensor:
        return beta * p.force - pull * p.u

    for _ in transitions(1):
        momentum = rng.normal_like(particles.u).to(particles.u.device)
        before = total(particles, momentum)
        there = particles
        for _ in range(LEAPFROGS):
            momentum = momentum + 0.5 * length * force(there)
            there = particles_at(target, there.u + length * momentum)
            momentum = momentum + 0.5 * length * force(there)
        # a comparison with NaN is false, so such a proposal is rejected
        accept = rng.uniform_like(before).log().to(before.device) < before - total(there, momentum)
    kept = [
        torch.where(accept.reshape(-1, *[1] * (new.ndim - 1)), new, old)
        for new, old in zip(there, particles, strict=True)
    ]
    return Particles(*kept), accept


def pilot(target: RoundEnergy, base: BroadBase, rng: Rng, *, particles: int, spread: float, most: int) -> Schedule:
    """Temperatures and steps, found on particles of its own, so that those that are weighed know nothing of it.

    The next temperature is where the conditional effective sample size Σ(Wv)² of the increments v falls to a share
    1 / (1 + spread) of the particles (Zhou, Johansen & Aston 2016). The spread is doubled after each quarter of `most`
    temperatures, so that there are never many more than these.
    """
    state = particles_at(target, base.draw(particles, rng))
    log_weights = torch.zeros(particles, dtype=torch.float64, device=state.u.device)
    betas, steps, step = [0.0], list[float](), base.scale**2 * base.dim**-0.5
    while betas[-1] < 1:
        gap = base.energy(state.u) - state.energy
        allowed = spread * 2.0 ** (len(betas) // max(1, most // 4))
        betas.append(_next(betas[-1], gap, log_weights, allowed))
        log_weights = log_weights + (betas[-1] - betas[-2]) * gap
        weights = log_weights.softmax(0)
        if not float(weights.sum()) > 0:
            raise ArithmeticError(f"the energy is not a number where the base is: weights are {weights[0]}")
        if 1 / float(weights.square().sum()) < UNEVEN * particles:
            state = state.take(rng.choice(weights, (particles,)).to(weights.device))
            log_weights = torch.zeros_like(log_weights)
        for _ in range(ADAPTED):
            state, accept = move(target, base, state, betas[-1], step, rng)
            step *= math.exp(float(accept.double().mean()) - ACCEPTANCE)
        steps.append(step)
    return Schedule(tuple(betas), tuple(steps))


def _next(beta: float, gap: Tensor, log_weights: Tensor, spread: float) -> float:
    """The largest β' <= 1 at which the increments' conditional effective share is at least 1 / (1 + spread)."""
    before = log_weights.log_softmax(0)

    def too_far(delta: float) -> bool:
        v = delta * gap
        share = 2 * (before + v).logsumexp(0) - (before + 2 * v).logsumexp(0)
        return not float(share) >= -math.log1p(spread)

    if not too_far(1 - beta):
        return 1.0
    low, high = 0.0, 1 - beta
    for _ in range(40):
        middle = math.sqrt(max(low, 1e-12) * high)
        low, high = (low, middle) if too_far(middle) else (middle, high)
    return min(1.0, beta + max(low, 1e-9))


def anneal(
    target: RoundEnergy,
    base: BroadBase,
    schedule: Schedule,
    rng: Rng,
    *,
    particles: int,
    islands: int | None = None,
) -> Annealed:
    """Particles from the base to exp(-E), with their weights.

    Args:
        islands: None for independent particles; else their number is divided among so many groups, within which they
            are drawn anew by weight where these are uneven: sequential Monte Carlo, which goes farther with fewer
            temperatures and whose mean weight has the expectation Z as well (Del Moral, Doucet & Jasra 2006).
    """
    groups = particles if islands is None else islands
    state = particles_at(target, base.draw(particles, rng))
    log_weights = torch.zeros(particles, dtype=torch.float64, device=state.u.device)
    for (beta, after), step in zip(pairwise(schedule.betas), schedule.steps, strict=True):
        log_weights = log_weights + (after - beta) * (base.energy(state.u) - state.energy)
        if groups < particles:
            index, log_weights = _drawn_anew(log_weights.reshape(groups, -1), rng)
            state = state.take(index)
        state, _ = move(target, base, state, after, step, rng)
    return Annealed(state, log_weights, groups)


def _drawn_anew(log_weights: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """Which of the particles (islands, n) go on, and their log weights, both flat; by systematic resampling."""
    islands, n = log_weights.shape
    weights = log_weights.softmax(1)
    uneven = UNEVEN * n * weights.square().sum(1, keepdim=True) > 1
    ticks = torch.arange(n, device=weights.device).expand(islands, n)
    ladder = (ticks + rng.uniform((islands, 1), weights.dtype).to(weights.device)) / n
    drawn = torch.searchsorted(weights.cumsum(1), ladder.contiguous()).clamp(max=n - 1)
    first = n * torch.arange(islands, device=weights.device)[:, None]
    means = (log_weights.logsumexp(1, keepdim=True) - math.log(n)).expand(islands, n)
    return (first + torch.where(uneven, drawn, ticks)).flatten(), torch.where(uneven, means, log_weights).flatten()


def reversed_from(target: RoundEnergy, base: BroadBase, schedule: Schedule, rng: Rng, u: Tensor) -> tuple[float, float]:
    """The mean log weight of the way back from points u ~ p, (n, d), and its standard error.

    In expectation an upper bound of log Z - KL(p‖q), not of log Z: it is one of log Z only for p = q.
    (Grosse, Ghahramani & Adams 2015)
    """
    state = particles_at(target, u)
    log_weights = torch.zeros(len(u), dtype=torch.float64, device=u.device)
    back = list(zip(pairwise(schedule.betas), schedule.steps, strict=True))[::-1]
    for (beta, after), step in back:
        state, _ = move(target, base, state, after, step, rng)
        log_weights = log_weights + (after - beta) * (base.energy(state.u) - state.energy)
    return float(log_weights.mean()), float(log_weights.std()) / math.sqrt(len(u))
