"""The gradient audit: what each objective's expected gradient points at, how noisy one is, and what that costs.

At checkpoints on the way from a bad energy to the truth, on a bed where every integral is exact, the expected gradient
is compared with that of the objective's own divergence and with that of maximum likelihood.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import pandas as pd
import torch
from torch import Tensor

from bench.audit import divergences, toy_problem
from bench.audit.gradients import Gradient, compare, rise
from bench.audit.toy_problem import Law, Model
from bench.common import references
from bench.common.errors import suggest
from bench.contract import stationarity
from bench.core.declarations import ObjectiveInfo
from bench.core.derivatives import Energy
from bench.core.rng import Rng
from bench.core.search_spaces import Choice, Integer, in_units_of_data
from bench.costs import step_time
from bench.plugins import builders, registry
from bench.plugins.objective import Objective
from bench.training import work_counter

TRAINING = 2_048
CHAINS = 256  # in a buffer: how many there are changes no expectation, and few are soon settled
SETTLING_ROUNDS = 3
MIDWAY, NEARBY, TRUTH = 0.5, 0.9, 1.0
PATH = (0.0, MIDWAY, NEARBY, TRUTH)
VARIANCES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
ROUNDING = 1e-12
FINER, LONGER = 0.5, 4  # a bias is looked at again at half of what it vanishes with, at four times what it falls with
LEAST_CALLS = 8
PASS = 8_448  # FLOPs of a forward pass of one example in the network that costs are counted in; the bed's have none
ENOUGH = 0.1  # of the gradient beside the truth: the noise under which it is seen whether that at the truth vanishes


@dataclass(frozen=True)
class Settings:
    """How much is drawn.

    Attributes:
        seeds: independent repetitions, from which standard errors are taken.
        batch: examples of one gradient.
        passes: passes of the energy, forward or backward, that every objective may spend on one expected gradient.
        more: times that it may spend so many where the gradient should vanish, until the noise is small enough to tell.
        noisy: gradients a seed from which the variance is taken.
    """

    seeds: int = 16
    batch: int = 128
    passes: float = 2e6
    more: int = 16
    noisy: int = 32


@dataclass(frozen=True)
class Sampler:
    """Gradients of batches at one θ, of an objective whose memory has been brought to rest there."""

    objective: Objective
    model: Model
    smoothing: float
    law: Law
    at: Tensor
    rng: Rng
    data: Rng
    paired: toy_problem.AntitheticRng
    settings: Settings

    def batch(self, *, even: bool = False) -> Tensor:
        """Examples (S, batch, 1)."""
        return self.law.draw(self.settings.batch, self.data, even=even).unsqueeze(-1)

    def gradient(self, energy: Energy, *, even: bool) -> Tensor:
        """∇θ of the mean loss of one batch, (S, P)."""
        loss = self.objective(energy, self.batch(even=even), self.paired if even else self.rng).mean(-1).sum()
        return torch.autograd.grad(loss, self.at)[0]

    def __call__(self, calls: int, *, even: bool) -> Tensor:
        """(calls, S, P); even and paired draws have the mean of plain ones, and less noise."""
        energy = toy_problem.as_energy(self.model, self.at, self.smoothing)
        return torch.stack([self.gradient(energy, even=even) for _ in range(calls)])

    def passes(self) -> float:
        """Forward and backward passes of an energy that one batch takes, networks of the objective's own included."""
        energy = toy_problem.as_energy(self.model, self.at, self.smoothing)
        work = work_counter.count_work(
            lambda calls: self._rehearse(work_counter.count_calls(energy, calls, 2)), batch=1, repeats=1
        )
        return 2 * work.forwards + work.input_gradients + 2 * work.double_backwards + work.flops / PASS

    def _rehearse(self, energy: Energy) -> None:
        self.gradient(energy, even=False)


class Subject:
    """An objective with its hyper-parameters on a law and a family of energies.

    Raises:
        UsageError: if it declares a divergence that there is none of, or a hyper-parameter is not as it must be.
    """

    def __init__(self, ref: str, hyper: Mapping[str, Any], law: Law, model: Model, settings: Settings) -> None:
        self.ref, self.law, self.model, self.settings = ref, law, model, settings
        self.plugin = registry.find("objectives", ref)
        self.info: ObjectiveInfo = self.plugin.info
        if self.info.divergence and self.info.divergence not in divergences.DIVERGENCES:
            raise suggest("divergence", self.info.divergence, sorted(divergences.DIVERGENCES))
        self.given = dict(hyper)
        chains = self.plugin.parameters.get("chains")
        if chains is not None and isinstance(chains.space, Integer):
            self.given.setdefault("chains", max(CHAINS, chains.space.low))
        self.scale = min(law.deviations)
        self.hyper = self.plugin.resolve(**self.given)
        static = self.info.energy == "static"
        self.smoothing = self.actual["sigma"] ** 2 if self.info.minimiser == "smoothed" and static else 0.0

    @property
    def label(self) -> str:
        """Its name, with the hyper-parameters that the reference gives."""
        return self.plugin.name + self.ref[len(references.split_reference(self.ref)[0]) :]

    @property
    def actual(self) -> dict[str, Any]:
        """Hyper-parameters in units of x."""
        return in_units_of_data(self.plugin.parameters, self.hyper, self.scale)

    def build(self, rng: Rng) -> Objective:
        x_train = self.law.draw(TRAINING, rng.stream("data"), even=True).unsqueeze(-1)
        return builders.objective(self.ref, x_train, rng, local_scale=self.scale, **self.given)

    def exact(self, theta: Tensor) -> Tensor | None:
        """The gradient of its own divergence, where quadrature gives it."""
        name = self.info.divergence
        return divergences.gradient(name, self.law, self.model, theta, self.actual) if name else None

    def likelihood(self, theta: Tensor) -> Tensor:
        """The gradient of maximum likelihood for the law that it is to learn."""
        smoothing = self.actual["sigma_min"] ** 2 if self.info.energy == "noise" else self.smoothing
        hyper = {"smoothing": smoothing}
        return divergences.gradient("maximum likelihood", self.law, self.model, theta, hyper)

    def integrated(self, theta: Tensor) -> Gradient | None:
        """E[∇θ loss] as an integral, if an example draws few numbers, all of them normal or signs."""
        if self.plugin.has_memory or self.info.energy == "noise":
            return None
        loss = self.build(Rng([0])).loss
        kinds = toy_problem.axes(loss, toy_problem.as_energy(self.model, theta, self.smoothing))
        if kinds is None:
            return None
        found = toy_problem.integrated_gradient(loss, self.model, theta, self.law, kinds, variance=self.smoothing)
        return Gradient(found.unsqueeze(0), 0)

    def drawn(self, sampler: Sampler, enough: float = math.inf) -> Gradient:
        """E[∇θ loss] from even and paired draws; more of them as long as the error's norm is above `enough`."""
        settings = self.settings
        calls = max(LEAST_CALLS, math.ceil(settings.passes / sampler.passes()))
        total = torch.zeros_like(sampler.at)
        for done in range(1, settings.more + 1):
            total += sampler(calls, even=True).sum(0)
            found = Gradient(total.detach() / (done * calls), done * calls * settings.seeds * settings.batch)
            if float(found.error.norm()) <= enough:
                break
        return found

    def noise(self, sampler: Sampler) -> tuple[float, float]:
        """The trace of the covariance of one example's gradient, and its standard error, as batches show it."""
        by_seed = sampler(self.settings.noisy, even=False).var(0).sum(-1) * self.settings.batch
        return float(by_seed.mean()), float(by_seed.std() / math.sqrt(len(by_seed)))

    def sampler(self, theta: Tensor) -> Sampler:
        """Draws of the gradient at θ."""
        seeds = range(self.settings.seeds)
        rng, data, paired = Rng(seeds), Rng(seeds, "data"), toy_problem.AntitheticRng(seeds, "eval")
        at = theta.expand(self.settings.seeds, -1).clone().requires_grad_()
        objective = self.build(rng)
        found = Sampler(objective, self.model, self.smoothing, self.law, at, rng, data, paired, self.settings)
        # a fit ends by itself, chains go on forgetting
        rounds = (1 if objective.param_groups() else SETTLING_ROUNDS) if self.plugin.has_memory else 0
        for _ in range(rounds):
            stationarity.settle(objective, toy_problem.as_energy(self.model, at, self.smoothing), found.batch, rng)
        return found


def checkpoint(
    subject: Subject, theta: Tensor, *, noise: bool = False, away: Tensor | None = None, enough: float = math.inf
) -> dict[str, Any]:
    """One line of the audit: the expected gradient at θ against both exact ones, and the noise of an example's.

    Args:
        away: a direction along which the loss is to rise, if there is one.
        enough: the norm of the standard errors that is aimed at.
    """
    sampler = subject.sampler(theta)
    found = subject.integrated(theta) or subject.drawn(sampler, enough)
    if not bool(found.mean.isfinite().all()):
        return {"status": "not finite"}
    size, likelihood = found.mean.norm(), subject.likelihood(theta)
    line: dict[str, Any] = {
        "status": "ok",
        "method": "integrated" if found.integrated else "drawn",
        "draws": found.draws,
        "gradient": float(size),
        "gradient_se": float(found.error.norm()),
    }
    if away is not None:
        line |= rise(found, away)
    if float(likelihood.norm()) < ROUNDING:
        return line  # at the truth there is no direction to compare with
    for name, exact in (("own", subject.exact(theta)), ("likelihood", likelihood)):
        if exact is not None:
            line |= {f"{k}_{name}": v for k, v in compare(found, exact).items()}
    if noise:
        trace, error = subject.noise(sampler)
        line |= {"noise_to_signal": trace / float(size) ** 2, "noise_to_signal_se": error / float(size) ** 2}
    return line


def examine(ref: str, settings: Settings) -> list[dict[str, Any]]:
    """Every line of one objective: as it is run, at the settings of its proof, and along its declared bias."""
    torch.set_num_threads(1)
    law, model = toy_problem.NEAR, toy_problem.mixture
    work = step_time.Bench.build(setting := step_time.Setting(dim=1), [ref], torch.device("cpu")).work[ref]
    plain = Subject(ref, {}, law, model, settings)
    info = plain.info
    about = {
        "objective": plain.label,
        "family": info.family,
        "control": info.control,
        "energy": info.energy,
        "minimiser": info.minimiser,
        "divergence": info.divergence,
        "promise": promise(info),
        "note": info.note,
        "mflops": work.flops / setting.batch / 1e6,
    }
    plans: list[tuple[str, dict[str, Any], tuple[float, ...]]] = [("as run", {}, PATH)]
    if info.proof and info.minimiser != "none":  # else the proof is of another place than the data's law
        plans.append(("proof", {**info.proof, **plain.plugin.given}, (NEARBY, TRUTH)))
    if info.divergence and info.bias:
        plans.append(("along its bias", _nearer(plain, info.bias), (MIDWAY,)))
    lines = []
    for name, hyper, stops in plans:
        subject = Subject(ref, hyper, law, model, settings)
        enough = math.inf
        for stop in stops:
            theta = (1 - stop) * toy_problem.START + stop * law.truth
            settled = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in hyper.items())
            away = toy_problem.START - law.truth
            line = checkpoint(subject, theta, noise=name == "as run" and stop < TRUTH, away=away, enough=enough)
            if stop == NEARBY and info.minimiser != "none" and (name == "proof" or not info.proof):
                enough = ENOUGH * line.get("gradient", math.inf)
            lines.append({**about, "setting": name, "hyper": settled, "path": stop, **line})
    return lines


def promise(info: ObjectiveInfo) -> str:
    """How the bias is declared to vanish: "none", "sigma^2", "falls with steps", or "" if nothing is promised."""
    if not info.divergence or info.bias is None:
        return ""
    if not info.bias:
        return "none"
    powers = [f"{k}^{v}" if v > 0 else f"falls with {k}" for k, v in info.bias.items()]
    return ", ".join(powers)


def _nearer(subject: Subject, bias: Mapping[str, int]) -> dict[str, Any]:
    """Hyper-parameters at which the declared bias is smaller, where their spaces allow it."""
    found: dict[str, Any] = {}
    for name, power in bias.items():
        space, value = subject.plugin.parameters[name].space, subject.hyper[name] * (FINER if power > 0 else LONGER)
        found[name] = value if isinstance(space, Choice) else min(max(value, space.low), space.high)
    return found


def audit_gradients(
    refs: Sequence[str], settings: Settings, jobs: int, on_progress: Callable[[str], None]
) -> pd.DataFrame:
    """Every line of every objective, one process for each; `on_progress` hears the name of each that is finished."""
    found = []
    for lines in _each(examine, refs, settings, jobs):
        on_progress(lines[0]["objective"])
        found.append(lines)
    found.sort(key=lambda lines: (lines[0]["family"], lines[0]["objective"]))
    return pd.DataFrame([line for lines in found for line in lines])


def _each(
    work: Callable[[str, Settings], list[dict[str, Any]]], refs: Sequence[str], settings: Settings, jobs: int
) -> Iterator[list[dict[str, Any]]]:
    """work(ref, settings) for each, as they are finished."""
    with warnings.catch_warnings():
        # joblib renews a worker that has grown, and no work is lost
        warnings.filterwarnings("ignore", message="A worker stopped", category=UserWarning)
        tasks = (joblib.delayed(work)(ref, settings) for ref in refs)
        yield from joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)


def relatives(refs: Sequence[str]) -> list[str]:
    """The objectives of a static energy that estimate one diffusion contrastive divergence at one noise scale."""
    chosen = []
    for ref in refs:
        plugin = registry.find("objectives", ref)
        if plugin.info.divergence == "diffusion contrastive" and "sigma" in plugin.parameters:
            chosen.append(ref)
    return chosen


def one_divergence(ref: str, settings: Settings) -> list[dict[str, Any]]:
    """The error of one estimator of the diffusion contrastive divergence at each noise scale."""
    torch.set_num_threads(1)
    lines = []
    for variance in VARIANCES:
        subject = Subject(ref, {"sigma": math.sqrt(variance)}, toy_problem.NEAR, toy_problem.wells, settings)
        line = {"objective": subject.label, "control": subject.info.control, "promise": promise(subject.info)}
        line |= {"variance": variance, **checkpoint(subject, toy_problem.WELLS)}
        lines.append(line)
    return lines


def family(refs: Sequence[str], settings: Settings, jobs: int) -> pd.DataFrame:
    """The error of every estimator of one divergence against the noise scale, and of the divergence's two limits."""
    chosen = relatives(refs)
    if not chosen:
        return pd.DataFrame()
    found = sorted(_each(one_divergence, chosen, settings, jobs), key=lambda lines: str(lines[0]["objective"]))
    return pd.DataFrame([line for lines in [*found, limits()] for line in lines])


def limits() -> list[dict[str, Any]]:
    """The gradients of T times score matching and of maximum likelihood, in place of that at σ² = T."""
    arguments = (toy_problem.NEAR, toy_problem.wells, toy_problem.WELLS)
    lines = []
    for variance in VARIANCES:
        exact = divergences.gradient("diffusion contrastive", *arguments, {"sigma": math.sqrt(variance)})
        small = variance * divergences.gradient("Fisher", *arguments, {})
        large = divergences.gradient("maximum likelihood", *arguments, {})
        for name, gradient in (("score matching × σ²", small), ("maximum likelihood", large)):
            about = {"objective": name, "control": False, "promise": "limit", "variance": variance, "status": "ok"}
            compared = {f"{k}_own": v for k, v in compare(Gradient(gradient.unsqueeze(0), 0), exact).items()}
            lines.append({**about, "method": "integrated", **compared})
    return lines
