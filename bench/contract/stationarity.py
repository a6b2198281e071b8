"""Whether an objective is stationary where it says: at the declared minimiser, and not a tenth beside it.

Energies with one parameter θ, at its best value for θ = 1, on laws that are known exactly. All seeds and the three
values of θ run side by side as one stack; a seed sees the same random numbers at all three.

An objective that no law minimises may declare another place at which it is `stationary`; the same is asked of it there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.core.declarations import ObjectiveInfo
from bench.core.derivatives import Energy
from bench.core.rng import Rng
from bench.plugins import builders, registry
from bench.plugins.objective import Objective

SEEDS = 20
OFF = 0.1
THETAS = (1 - OFF, 1.0, 1 + OFF)
STANDARD_ERRORS = 4.0
CLEAR = 6.0  # no more draws are needed once θ = .9 and 1.1 are told from 1 by so many standard errors
BATCH = 128  # examples a seed and call at most
COORDINATES = 2_048  # of a seed's batch at most: with all seeds and values of θ they fit the cache
CALLS = 256  # at most
FIRST_CALLS = 4
TRAINING = 2_048
SETTLING_CALLS = 30  # chains that are kept forget where they began
FITTING_STEPS = 80
FITTING_RATE = 0.1
DIMENSIONS = (1, 2, 8, 32)
SHAPE = 2  # of the Gamma law behind the skewed law


class _Repeated(Rng):
    """A stack in which every seed stands once for each θ: its numbers are drawn once and repeated."""

    def __init__(self, stream: str) -> None:
        super().__init__(range(SEEDS), stream)
        self.seeds *= len(THETAS)

    def stream(self, name: str) -> Rng:
        return _Repeated(name)

    def _draw(self, draw: Callable[[tuple[int, ...], torch.Generator], Tensor], shape: Sequence[int]) -> Tensor:
        if shape[0] != len(self.seeds):
            raise ValueError(f"a stack of {len(self.seeds)} seeds draws shapes ({len(self.seeds)}, ...); got {shape}")
        drawn = torch.stack([draw(tuple(shape[1:]), generator) for generator in self._generators])
        return torch.cat([drawn] * len(THETAS))


@dataclass(frozen=True)
class Law:
    """A law with density ∝ exp(-E(x)) at θ = 1.

    Attributes:
        draw: a stack's examples, (n, rng) -> (S, n, dim).
        energy: (x, variance of the smoothing, θ) -> energies, normalised at θ = 1 so that log Z is near 0.
        score: (x, variance of the smoothing, θ) -> -∇ of that energy in x: chains of hundreds of steps are proved, too.
        local_scale: the standard deviation that `step_size` is measured in.
        smooths: whether `energy` knows the law convolved with N(0, variance · I).
    """

    name: str
    dim: int
    draw: Callable[[int, Rng], Tensor]
    energy: Callable[[Tensor, Tensor | float, Tensor], Tensor]
    score: Callable[[Tensor, Tensor | float, Tensor], Tensor]
    local_scale: float
    smooths: bool

    @property
    def batch(self) -> int:
        """Examples a seed and call."""
        return min(BATCH, COORDINATES // self.dim)


def _gaussian(dim: int) -> Law:
    """E(x) = θ‖x‖² / 2(1 + variance) + (d/2) ln 2π(1 + variance), or the sum of that over the axes.

    It is normalised at every variance, for the objectives that compare noise levels.
    """

    def energy(x: Tensor, variance: Tensor | float, theta: Tensor) -> Tensor:
        wide = torch.as_tensor(1 + variance, dtype=x.dtype)
        if wide.ndim == x.ndim:  # a variance a coordinate
            return 0.5 * (theta.unsqueeze(-1) * x.square() / wide + (2 * math.pi * wide).log()).sum(-1)
        return 0.5 * theta * x.square().sum(-1) / wide + 0.5 * dim * (2 * math.pi * wide).log()

    def score(x: Tensor, variance: Tensor | float, theta: Tensor) -> Tensor:
        wide = torch.as_tensor(1 + variance, dtype=x.dtype)
        return -theta.unsqueeze(-1) / (wide if wide.ndim == x.ndim else wide.unsqueeze(-1)) * x

    def draw(n: int, rng: Rng) -> Tensor:
        return rng.normal((*rng.batch_shape(n), dim), torch.float64)

    return Law(f"N(0, I) d={dim}", dim, draw, energy, score, 1.0, True)


def _skewed() -> Law:
    """E(y) = θa(e^y - y): y is the logarithm of a Gamma variable of shape a and mean 1."""
    log_z = math.lgamma(SHAPE) - SHAPE * math.log(SHAPE)

    def energy(x: Tensor, variance: Tensor | float, theta: Tensor) -> Tensor:
        return SHAPE * theta * (x.exp() - x).sum(-1) + log_z

    def score(x: Tensor, variance: Tensor | float, theta: Tensor) -> Tensor:
        return -SHAPE * theta.unsqueeze(-1) * (x.exp() - 1)

    def draw(n: int, rng: Rng) -> Tensor:
        waiting = -(1 - rng.uniform((*rng.batch_shape(n), SHAPE), torch.float64)).log()
        return waiting.mean(-1, keepdim=True).log()

    return Law("skewed", 1, draw, energy, score, SHAPE**-0.5, False)


LAWS = (*(_gaussian(dim) for dim in DIMENSIONS), _skewed())


@dataclass(frozen=True)
class Verdict:
    """The expected ∂loss/∂θ in standard errors over the seeds, at θ = .9, 1 and 1.1.

    Attributes:
        draws: the examples that a seed took.
    """

    law: Law
    gradients: tuple[float, float, float]
    draws: int

    @property
    def warning(self) -> str:
        """What is wrong; empty if nothing is."""
        below, here, above = self.gradients
        if not abs(here) <= STANDARD_ERRORS:
            return f"the gradient at the minimiser is {here:+.1f} standard errors from 0"
        if not (below < -STANDARD_ERRORS and above > STANDARD_ERRORS):
            seen = f"in {self.draws} draws a seed"
            return f"a parameter {OFF:.0%} off is not told from the minimiser {seen}, or pushed the wrong way"
        return ""

    def __str__(self) -> str:
        return f"{self.law.name}: " + " | ".join(f"{z:+.1f}" for z in self.gradients)


def verdicts(plugin: registry.Plugin, ref: str, calls: int = CALLS) -> Iterator[Verdict]:
    """One verdict a law that applies, after so many calls at most.

    The hyper-parameters are those of `ref`, else of `proof`, else the defaults.
    """
    info: ObjectiveInfo = plugin.info
    for law in LAWS:
        if not why_not(info, law):
            yield _verdict(law, info, ref, {**info.proof, **plugin.given}, calls)


def estimated_seconds(plugin: registry.Plugin, ref: str, calls: int = CALLS) -> float:
    """About how long `verdicts` takes at most: one call on the first law, for all calls on all laws that apply."""
    laws = [law for law in LAWS if not why_not(plugin.info, law)]
    if not laws or not place(plugin.info):
        return 0.0
    problem = _problem(laws[0], plugin.info, ref, {**plugin.info.proof, **plugin.given})
    problem.gradient()  # the first call also warms up
    began = time.perf_counter()
    problem.gradient()
    return (time.perf_counter() - began) * len(laws) * (calls + SETTLING_CALLS)


def why_not(info: ObjectiveInfo, law: Law) -> str:
    """Why the law does not apply to an objective; empty if it does."""
    if info.max_dim is not None and law.dim > info.max_dim:
        return f"it takes {info.max_dim} dimensions at most"
    if not law.smooths and (info.minimiser == "smoothed" or info.energy == "noise"):
        return "its convolution with a Gaussian has no closed form"
    if not law.smooths and callable(info.stationary):
        return "the score is declared for Gaussian data"
    return ""


def place(info: ObjectiveInfo) -> str:
    """Where the objective is held to be stationary, in words; empty if it does not say."""
    if info.minimiser != "none":
        return "the minimiser"
    if callable(info.stationary):
        return "the declared score"
    return {
        "data": "the data's energy",
        "temperature": "the data's energy times the temperature",
        "sampler": "the energy under which its own sampler draws the data",
        None: "",
    }[info.stationary]


@dataclass(frozen=True)
class _Problem:
    """An objective on a law, with the energy whose best parameter is θ = 1; `theta` is (3 SEEDS, 1)."""

    objective: Objective
    energy: Energy
    theta: Tensor
    batch: Callable[[], Tensor]
    rng: Rng

    def gradient(self) -> Tensor:
        """∂loss/∂θ on one more batch, summed over the batch, shaped as `theta`."""
        loss = self.objective(self.energy, self.batch(), self.rng).mean(-1).sum()
        return torch.autograd.grad(loss, self.theta)[0]


def _problem(law: Law, info: ObjectiveInfo, ref: str, hyper: dict[str, Any]) -> _Problem:
    data_rng, rng = _Repeated("data"), _Repeated("objective")
    theta = torch.tensor(THETAS, dtype=torch.float64).repeat_interleave(SEEDS).unsqueeze(-1).requires_grad_()
    objective = builders.objective(ref, law.draw(TRAINING, data_rng), rng, local_scale=law.local_scale, **hyper)
    energy_at = _energy_at(law, info, objective)

    def batch() -> Tensor:
        if info.stationary != "sampler":
            return law.draw(law.batch, data_rng)
        return _own_draws(objective, energy_at(torch.ones_like(theta)), law.draw(law.batch, data_rng), data_rng)

    return _Problem(objective, energy_at(theta), theta, batch, rng)


def _verdict(law: Law, info: ObjectiveInfo, ref: str, hyper: dict[str, Any], calls: int) -> Verdict:
    problem = _problem(law, info, ref, hyper)
    settle(problem.objective, problem.energy, problem.batch, problem.rng)
    total = torch.zeros_like(problem.theta)
    for call in range(1, calls + 1):
        total += problem.gradient()
        mean = (total.detach() / call).reshape(len(THETAS), SEEDS)
        below, here, above = (mean.mean(-1) / (mean.std(-1) / SEEDS**0.5)).tolist()
        # looked at where the calls have doubled, so that luck has few chances to stop early
        if call >= FIRST_CALLS and call & (call - 1) == 0 and min(abs(below), abs(above)) >= CLEAR:
            break
    return Verdict(law, (below, here, above), call * law.batch)


def _energy_at(law: Law, info: ObjectiveInfo, objective: Objective) -> Callable[[Tensor], Energy]:
    """θ -> an energy of x, and of σ if it is told one, stationary at θ = 1 if the declaration is true."""
    if callable(info.stationary):
        score = partial(info.stationary, **objective.values)
        # of its energies nothing is right but the slope, which is -θ times the declared score
        return lambda theta: lambda x: -theta * (x * score(x.detach())).sum(-1)
    temperature = 1.0
    if info.stationary == "temperature":
        temperature = _needed(objective, "temperature", "a law at a temperature")
    smoothing = 0.0
    if info.minimiser == "smoothed" and info.energy == "static":
        smoothing = _needed(objective, "sigma", "a static objective with a smoothed minimiser") ** 2

    def at(theta: Tensor) -> Energy:
        def energy(x: Tensor, *sigma: Tensor) -> Tensor:
            return temperature * law.energy(x, sigma[0].square() if sigma else smoothing, theta)

        def closed_form_score(x: Tensor, *sigma: Tensor) -> Tensor:
            return temperature * law.score(x, sigma[0].square() if sigma else smoothing, theta)

        def energy_and_score(x: Tensor, *sigma: Tensor) -> tuple[Tensor, Tensor]:
            return energy(x, *sigma), closed_form_score(x, *sigma)

        energy.closed_form_score = closed_form_score  # type: ignore[attr-defined]
        energy.energy_and_score = energy_and_score  # type: ignore[attr-defined]
        return energy

    return at


def _needed(objective: Objective, name: str, whose: str) -> float:
    if name not in objective.values:
        raise ValueError(f"{whose} is said by a parameter '{name}'; there is none")
    return float(objective.values[name])


def _own_draws(objective: Objective, energy: Energy, like: Tensor, rng: Rng) -> Tensor:
    """What the objective's sampler draws at θ = 1, whose copy of its memory stands in the middle; for every θ."""
    draws = objective.sample(energy, like, rng)
    if draws is None:
        raise ValueError("to be stationary at the draws of its own sampler, an objective declares a sampler")
    return draws.chunk(len(THETAS))[len(THETAS) // 2].repeat(len(THETAS), *[1] * (draws.ndim - 1))


def settle(objective: Objective, energy: Energy, batch: Callable[[], Tensor], rng: Rng) -> None:
    """Brings an objective's memory to rest with the energy held fixed: its own parameters and its chains."""
    groups = objective.param_groups()
    if groups:
        peaks = [group.setdefault("lr", FITTING_RATE) for group in groups]
        optimiser = torch.optim.Adam(groups)
        own = [p for group in groups for p in group["params"]]
        for t in range(FITTING_STEPS):
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * 0.5 * (1 + math.cos(math.pi * t / FITTING_STEPS))
            optimiser.zero_grad()
            objective(energy, batch(), rng).mean(-1).sum().backward(inputs=own)
            optimiser.step()
    elif list(objective.buffers()):
        for _ in range(SETTLING_CALLS):
            objective(energy, batch(), rng)
