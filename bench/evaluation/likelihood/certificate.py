"""log ∫ exp(-E) by annealed importance sampling, and whether it may be believed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.common.errors import UsageError
from bench.core.derivatives import Energy
from bench.core.rng import Rng
from bench.evaluation.likelihood.annealing import (
    Annealed,
    Schedule,
    anneal,
    move,
    particles_at,
    pilot,
    reversed_from,
)
from bench.evaluation.likelihood.base import BroadBase, RoundEnergy

CERTIFIED, UNCERTIFIED = "certified_ais", "uncertified"
BOUNDS = "log Z from below, in expectation; so a negative log-likelihood from below too: it can look too good"
QUANTILE = 2.576  # two-sided 99 %
WIDE = 3.0  # times the base's scale: how far the second base looks, as far as quadrature looks outside its box
ISLANDS = 16  # of the wide run: groups whose spread is its standard error
LEAST_ESS = 0.1  # of the particles; below it the standard error is not to be trusted
LEAST_WIDE_ESS = 0.3  # of the islands
AGREEMENT = 3.0  # standard errors of a difference
SLACK = 0.02  # nats that two runs may differ by beside their errors
OUTSIDE = 0.01  # of points that may lie where the base hardly has a particle
R_HAT = 1.01  # two groups of chains whose means differ by a fifth of a chain's standard deviation
R_HAT_WIDE = 1.03  # by a third: particles of one island have ancestors in common
LEAST_PARTICLES = 64
CHECKS = 1_024  # particles of what only checks, at most
IN_FEW_DIMENSIONS = 16_384  # particles times dimensions: on the plane the error is to be below a hundredth
TRANSITIONS = 100  # of the long chains; the second half counts


@dataclass(frozen=True)
class AnnealedPartition:
    """An estimate of log Z with its doubt.

    Attributes:
        log_z: log of the mean weight of the run with twice the temperatures, in nats; below log Z in expectation.
        stderr: its standard error.
        ess: effective share of its particles.
        reason: why it is not certified; empty if it is.
        detail: what it rests on, in plain numbers and words; `energy_evaluations` is its whole cost.
    """

    log_z: float
    stderr: float
    ess: float
    reason: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def certified(self) -> bool:
        """Whether every criterion holds."""
        return not self.reason

    @property
    def mark(self) -> str:
        """`certified_ais`, or `uncertified`; `certified` alone is quadrature's."""
        return CERTIFIED if self.certified else UNCERTIFIED

    @property
    def interval(self) -> tuple[float, float]:
        """The nominal 99 % interval of log Z, in nats; it means something where the value is certified."""
        half = QUANTILE * self.stderr
        return self.log_z - half, self.log_z + half


def annealed_partition(
    energy: Energy,
    x_train: Tensor,
    rng: Rng,
    *,
    held_out: Tensor | None = None,
    particles: int = 1024,
    spread: float = 0.002,
    most: int = 300,
) -> AnnealedPartition:
    """log ∫ exp(-E(x)) dx over the whole space, in nats, with a certificate.

    It is certified only if none of these speaks against it: the base covers the data and the ends of all chains; the
    effective sample size is enough; half and twice the temperatures agree, and so does a base three times as wide; long
    chains from the ends of annealing, from the data and from the ends of the wide run reach the same energies and the
    same distances from the middle (nested R-hat, Margossian et al. 2024). None of them proves anything: a mode so
    narrow, or so far out, that neither a particle nor a chain finds it is in no estimate. The way back from data bounds
    log Z - KL(p‖q) and certifies nothing.

    Args:
        energy: E, (n, *event) -> (n,), with log Z not known.
        x_train: training data (n, *event), which the base is fitted to and half of the long chains start from.
        held_out: data (n, *event) that the way back starts from; `x_train` if None.
        particles: of each run, at least 64; in fewer than 16 dimensions, where they cost little, 16384 / d if that is
            more. The runs that only check have 1,024 at most, and half as many long chains start in each place.
        spread: the relative variance of the weights that a temperature adds.
        most: about how many temperatures there are at most; the run that is read has twice as many.

    Raises:
        UsageError: if there are too few data to fit a base to, or too few particles.
    """
    if len(x_train) < 2:
        raise UsageError(
            f"annealing starts in a Gaussian fitted to the data, of 2 examples at least; got {len(x_train)}"
        )
    if particles < LEAST_PARTICLES or particles % ISLANDS:
        raise UsageError(f"particles must be a multiple of {ISLANDS}, {LEAST_PARTICLES} at least; got {particles}")
    base, wide = BroadBase(x_train), BroadBase(x_train, widen=WIDE)
    particles = max(particles, IN_FEW_DIMENSIONS // base.dim // ISLANDS * ISLANDS)
    few = min(particles, CHECKS)
    target, far = RoundEnergy(energy, base), RoundEnergy(energy, wide)
    with torch.no_grad():
        try:
            schedule = pilot(target, base, rng, particles=few // 2, spread=spread, most=most)
            runs = {
                name: anneal(target, base, its, rng, particles=particles)
                for name, its in (("half", schedule.halved()), ("once", schedule), ("twice", schedule.doubled()))
            }
            outer = pilot(far, wide, rng, particles=few // 2, spread=spread, most=most)
            runs["wide"] = anneal(far, wide, outer, rng, particles=few, islands=ISLANDS)
        except ArithmeticError as error:
            return AnnealedPartition(math.nan, math.nan, 0.0, str(error))
        chosen = rng.distinct(len(x_train), (min(len(x_train), few // 2),)).to(x_train.device)
        from_data = base.coordinates(x_train[chosen])
        starts = {
            "base": runs["twice"].resampled(len(from_data), rng).u,
            "data": from_data,
            "wide": base.coordinates(wide.points(runs["wide"].resampled(len(from_data), rng).u)),
        }
        chains = LongChains.run(target, base, schedule, starts, rng)
        back = x_train if held_out is None else held_out
        some = rng.distinct(len(back), (min(len(back), few // 2),)).to(back.device)
        upper, upper_stderr = reversed_from(target, base, schedule, rng, base.coordinates(back[some]))
    best = runs["twice"]
    outside = max(base.outside(u) for u in (base.coordinates(x_train), chains.ends, best.particles.u))
    detail = {
        "bounds": BOUNDS,
        "temperatures": 2 * (len(schedule.betas) - 1),
        "particles": particles,
        "ess": best.ess,
        "base_scale": base.scale,
        "outside_base": outside,
        **{f"log_z_{name}": run.log_z for name, run in runs.items() if name != "twice"},
        **{f"stderr_{name}": run.stderr for name, run in runs.items() if name != "twice"},
        "ess_wide": runs["wide"].ess,
        **{f"r_hat_{what}_{start}": value for (what, start), value in chains.r_hat.items()},
        "log_z_minus_kl_from_data_at_most": upper,
        "log_z_minus_kl_stderr": upper_stderr,
        "energy_evaluations": target.evaluations + far.evaluations,
    }
    reason = next(_doubts(runs, outside, chains), "")
    found = AnnealedPartition(best.log_z, best.stderr, best.ess, reason, detail)
    detail["mark"] = found.mark
    return found


def _doubts(runs: dict[str, Annealed], outside: float, chains: LongChains) -> Iterator[str]:
    """What speaks against the estimate, the gravest first."""
    best, wide = runs["twice"], runs["wide"]
    if not math.isfinite(best.log_z):
        yield f"log Z is {best.log_z}"
    if not outside <= OUTSIDE:
        yield f"the base does not cover the model: {outside:.1%} of the points lie outside of it"
    if not best.ess >= LEAST_ESS:
        yield f"the effective sample is {best.ess:.1%} of all particles, below {LEAST_ESS:.0%}: use more temperatures"
    for name, low, high in (("half and once", "half", "once"), ("once and twice", "once", "twice")):
        if _apart(runs[low], runs[high]):
            yield f"{name} the temperatures disagree: log Z {runs[low].log_z:.3f} and {runs[high].log_z:.3f}"
    if not wide.ess >= LEAST_WIDE_ESS:
        yield f"a base {WIDE:.0f} times as wide keeps {wide.ess:.0%} of its groups: what lies far out is unknown"
    if _apart(best, wide):
        yield f"a base {WIDE:.0f} times as wide finds log Z {wide.log_z:.3f}, not {best.log_z:.3f}"
    for (what, start), r_hat in chains.r_hat.items():
        if not r_hat <= (R_HAT_WIDE if start == "wide" else R_HAT):
            other = "a wider base" if start == "wide" else "the data"
            yield f"long chains from the base and from {other} differ in {what}: R-hat {r_hat:.3f}"


def _apart(a: Annealed, b: Annealed) -> bool:
    return not abs(a.log_z - b.log_z) <= SLACK + AGREEMENT * math.hypot(a.stderr, b.stderr)


@dataclass(frozen=True)
class LongChains:
    """Chains on exp(-E) from the ends of annealing, drawn by weight, from data, and from the ends of the wide run.

    Attributes:
        r_hat: of those from the base against each other start, ("energy" or "radius", "data" or "wide").
        ends: of all of them, (n, d).
    """

    r_hat: dict[tuple[str, str], float]
    ends: Tensor

    @staticmethod
    def run(
        target: RoundEnergy, base: BroadBase, schedule: Schedule, starts: dict[str, Tensor], rng: Rng
    ) -> LongChains:
        """Moves all groups, each (n, d), alike and compares them over the second half of the way."""
        state = particles_at(target, torch.cat(list(starts.values())))
        kept: dict[str, list[Tensor]] = {"energy": [], "radius": []}
        for k in range(TRANSITIONS):
            state, _ = move(target, base, state, 1.0, schedule.steps[-1], rng)
            if 2 * k >= TRANSITIONS:
                kept["energy"].append(state.energy)
                kept["radius"].append(state.u.double().norm(dim=-1))
        found = {}
        for what, values in kept.items():
            first, *others = torch.stack(values, -1).chunk(len(starts))
            for start, other in zip(list(starts)[1:], others, strict=True):
                found[what, start] = nested_r_hat(torch.stack([first, other]))
        return LongChains(found, state.u)


def nested_r_hat(values: Tensor) -> float:
    """√(1 + B/W) of groups of chains, (groups, chains, draws): B the variance of the groups' means, W that within.

    NaN where a value is not a number. W is the mean over groups of the variance between chains' means and within
    chains.   (Margossian et al. 2024)
    """
    chain_means = values.mean(-1)
    between = float(chain_means.mean(-1).var())
    within = float((chain_means.var(-1) + values.var(-1).mean(-1)).mean())
    if within == 0:
        return 1.0 if between == 0 else math.inf
    return math.sqrt(1 + between / within)
