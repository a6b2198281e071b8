"""The gradient audit: what each objective's expected gradient points at, how noisy one is, and what that costs.

At checkpoints on the way from a bad energy to the truth, on a bed where every integral is exact, the expected gradient
is compared with that of the objective's own divergence and with that of maximum likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import joblib
import pandas as pd
import torch
from torch import Tensor

from bench import bed, cost, divergences, load, minimiser
from bench.bed import Law, Model
from bench.declare import ObjectiveInfo
from bench.rng import Rng
from bench.spaces import Integer, StepSize

TRAINING = 2_048
CHAINS = 256  # in a buffer: how many there are changes no expectation, and few are soon settled
SETTLING_ROUNDS = 4
MIDWAY, NEARBY, TRUTH = 0.5, 0.9, 1.0
PATH = (0.0, MIDWAY, NEARBY, TRUTH)
VARIANCES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FINER, LONGER = 0.5, 4  # what a declared bias is held against: half of what it vanishes with, four times what it falls with


@dataclass(frozen=True)
class Settings:
    """How much is drawn.

    Attributes:
        seeds: independent repetitions, from which standard errors are taken.
        batch: examples of one gradient.
        passes: passes of the energy, forward or backward, that every objective may spend on one expected gradient.
        noisy: gradients a seed from which the variance is taken.
    """

    seeds: int = 32
    batch: int = 128
    passes: float = 4e7
    noisy: int = 16


@dataclass(frozen=True)
class Gradient:
    """An expected gradient: its mean over each seed's draws, (S, P), or S = 1 if it was integrated."""

    by_seed: Tensor
    draws: int

    @property
    def integrated(self) -> bool:
        return not self.draws

    @property
    def mean(self) -> Tensor:
        return self.by_seed.mean(0)

    @cached_property
    def error(self) -> Tensor:
        """Standard errors, (P,)."""
        seeds = len(self.by_seed)
        return torch.zeros_like(self.mean) if self.integrated else self.by_seed.std(0) / math.sqrt(seeds)

    def jackknife(self, statistic: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """A statistic of the mean and its standard error over the seeds."""
        value, seeds = float(statistic(self.mean)), len(self.by_seed)
        if self.integrated:
            return value, 0.0
        rest = (self.by_seed.sum(0) - self.by_seed) / (seeds - 1)
        left_out = torch.stack([statistic(mean) for mean in rest])
        return value, float(left_out.std(correction=0)) * math.sqrt(seeds - 1)


class Subject:
    """An objective with its hyper-parameters on a law and a family of energies."""

    def __init__(self, ref: str, hyper: Mapping[str, Any], law: Law, model: Model, settings: Settings) -> None:
        self.ref, self.law, self.model, self.settings = ref, law, model, settings
        self.plugin = load.find("objectives", ref)
        self.info: ObjectiveInfo = self.plugin.info
        self.given = dict(hyper)
        chains = self.plugin.parameters.get("chains")
        if chains is not None and isinstance(chains.space, Integer):
            self.given.setdefault("chains", max(CHAINS, chains.space.low))
        self.scale = min(law.deviations)
        self.hyper = self.plugin.resolve(**self.given)
        static = self.info.energy == "static"
        self.smoothing = self.hyper["sigma"] ** 2 if self.info.minimiser == "smoothed" and static else 0.0

    @property
    def actual(self) -> dict[str, Any]:
        """Hyper-parameters in units of x."""
        steps = {k for k, p in self.plugin.parameters.items() if isinstance(p.space, StepSize)}
        return {k: v * self.scale**2 if k in steps else v for k, v in self.hyper.items()}

    def build(self, rng: Rng) -> load.Objective:
        x_train = self.law.draw(TRAINING, rng.stream("data"), even=True).unsqueeze(-1)
        return load.objective(self.ref, x_train, rng, local_scale=self.scale, **self.given)

    def exact(self, theta: Tensor) -> Tensor | None:
        """The gradient of its own divergence, where quadrature gives it."""
        name = self.info.divergence
        return divergences.gradient(name, self.law, self.model, theta, self.actual) if name else None

    def likelihood(self, theta: Tensor) -> Tensor:
        """The gradient of maximum likelihood for the law that it is to learn."""
        smoothing = self.hyper["sigma_min"] ** 2 if self.info.energy == "noise" else self.smoothing
        hyper = {"smoothing": smoothing}
        return divergences.gradient("maximum likelihood", self.law, self.model, theta, hyper)

    def expected(self, theta: Tensor, passes: float) -> Gradient:
        """E[∇θ loss], integrated if an example draws few normal numbers and signs, else from even and paired draws.

        Args:
            passes: of the energy an example takes.
        """
        if not self.plugin.has_memory and self.info.energy == "static":
            objective = self.build(Rng([0])).loss
            kinds = bed.axes(objective, bed.as_energy(self.model, theta, self.smoothing))
            if kinds is not None:
                arguments = (objective, self.model, theta, self.law, kinds)
                return Gradient(bed.integrated_gradient(*arguments, variance=self.smoothing).unsqueeze(0), 0)
        settings = self.settings
        calls = max(8, math.ceil(settings.passes / (passes * settings.seeds * settings.batch)))
        gradients = self._gradients(theta, calls, even=True)
        return Gradient(gradients.mean(0), calls * settings.seeds * settings.batch)

    def noise(self, theta: Tensor) -> tuple[float, float]:
        """The trace of the covariance of one example's gradient, and its standard error, as batches show it."""
        gradients = self._gradients(theta, self.settings.noisy, even=False)
        by_seed = gradients.var(0).sum(-1) * self.settings.batch
        return float(by_seed.mean()), float(by_seed.std() / math.sqrt(len(by_seed)))

    def _gradients(self, theta: Tensor, calls: int, *, even: bool) -> Tensor:
        """Gradients of batches, (calls, S, P), memory being brought to rest first."""
        settings, seeds = self.settings, range(self.settings.seeds)
        rng, data = Rng(seeds), Rng(seeds, "data")
        at = theta.expand(settings.seeds, -1).clone().requires_grad_()
        energy = bed.as_energy(self.model, at, self.smoothing)
        objective = self.build(rng)
        if self.plugin.has_memory:
            for _ in range(SETTLING_ROUNDS):
                minimiser.settle(objective, energy, lambda: self._batch(data, even=False), rng)
        if even:
            rng = bed.Paired(seeds, "eval")
        found = []
        for _ in range(calls):
            loss = objective(energy, self._batch(data, even=even), rng).mean(-1).sum()
            found.append(torch.autograd.grad(loss, at)[0])
        return torch.stack(found)

    def _batch(self, data: Rng, *, even: bool) -> Tensor:
        return self.law.draw(self.settings.batch, data, even=even).unsqueeze(-1)


def compare(found: Gradient, exact: Tensor) -> dict[str, float]:
    """Cosine and relative error of an expected gradient against an exact one, with standard errors.

    `bias` is ‖mean - exact‖ / ‖exact‖ less what the noise of the mean adds to it, `floor`, in quadrature.
    """
    size = exact.norm()
    floor = float(found.error.norm() / size)
    raw, raw_error = found.jackknife(lambda mean: (mean - exact).norm() / size)
    cosine, cosine_error = found.jackknife(lambda mean: mean @ exact / mean.norm() / size)
    return {
        "bias": math.sqrt(max(raw**2 - floor**2, 0.0)),
        "bias_se": max(raw_error, floor / math.sqrt(2)) if floor else 0.0,
        "floor": floor,
        "cosine": cosine,
        "cosine_se": cosine_error,
    }


def checkpoint(subject: Subject, theta: Tensor, passes: float, *, noise: bool) -> dict[str, Any]:
    """One line of the audit: the expected gradient at θ against both exact ones, and the noise of an example's."""
    found = subject.expected(theta, passes)
    if not bool(found.mean.isfinite().all()):
        return {"status": "not finite"}
    size, own, likelihood = found.mean.norm(), subject.exact(theta), subject.likelihood(theta)
    line: dict[str, Any] = {
        "status": "ok",
        "method": "integrated" if found.integrated else "drawn",
        "draws": found.draws,
        "gradient": float(size),
        "gradient_se": float(found.error.norm()),
        "largest_z": None if found.integrated else float((found.mean / found.error).abs().max()),
    }
    for name, exact in (("own", own), ("likelihood", likelihood)):
        if exact is not None and float(exact.norm()) > 1e-12:
            line |= {f"{k}_{name}": v for k, v in compare(found, exact).items()}
    if noise:
        trace, error = subject.noise(theta)
        # what one example's gradient must be averaged over for its noise to fall to its size
        line |= {"noise_to_signal": trace / float(size) ** 2, "noise_to_signal_se": error / float(size) ** 2}
    return line


def examine(ref: str, settings: Settings) -> list[dict[str, Any]]:
    """Every line of one objective: as it is run along the path, at its proof's settings, and along its declared bias."""
    torch.set_num_threads(1)
    law, model = bed.NEAR, bed.mixture
    work = cost.Bench.build(setting := cost.Setting(dim=1), [ref], torch.device("cpu")).work[ref]
    plain = Subject(ref, {}, law, model, settings)
    info = plain.info
    about = {
        "objective": ref,
        "family": info.family,
        "control": info.control,
        "energy": info.energy,
        "minimiser": info.minimiser,
        "divergence": info.divergence,
        "promise": promise(info),
        "note": info.note,
        "mflops": work.flops / setting.batch / 1e6,
    }
    passes = 2 * work.forwards + work.input_gradients + 2 * work.double_backwards
    plans: list[tuple[str, dict[str, Any], tuple[float, ...]]] = [("as run", {}, PATH)]
    if info.proof:
        plans.append(("proof", dict(info.proof), (NEARBY, TRUTH)))
    if info.divergence and info.bias:
        plans.append(("along its bias", _nearer(plain, info.bias), (MIDWAY,)))
    lines = []
    for name, hyper, stops in plans:
        subject = Subject(ref, {**hyper, **plain.plugin.given}, law, model, settings)
        for stop in stops:
            theta = (1 - stop) * bed.START + stop * law.truth
            settled = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in hyper.items())
            line = checkpoint(subject, theta, passes, noise=name == "as run")
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
    """Hyper-parameters at which the declared bias is smaller."""
    return {k: subject.hyper[k] * (FINER if power > 0 else LONGER) for k, power in bias.items()}


def audit(refs: Sequence[str], settings: Settings, jobs: int) -> pd.DataFrame:
    """Every line of every objective, one process for each."""
    found = joblib.Parallel(n_jobs=jobs)(joblib.delayed(examine)(ref, settings) for ref in refs)
    return pd.DataFrame([line for lines in found for line in lines])


def relatives(refs: Sequence[str]) -> list[str]:
    """The objectives of a static energy that estimate one diffusion contrastive divergence at one noise scale."""
    chosen = []
    for ref in refs:
        plugin = load.find("objectives", ref)
        if plugin.info.divergence == "diffusion contrastive" and "sigma" in plugin.parameters:
            chosen.append(ref)
    return chosen


def one_divergence(ref: str, settings: Settings) -> list[dict[str, Any]]:
    """The error of one estimator of the diffusion contrastive divergence at each noise scale."""
    torch.set_num_threads(1)
    work = cost.Bench.build(cost.Setting(dim=1), [ref], torch.device("cpu")).work[ref]
    passes = 2 * work.forwards + work.input_gradients + 2 * work.double_backwards
    lines = []
    for variance in VARIANCES:
        subject = Subject(ref, {"sigma": math.sqrt(variance)}, bed.NEAR, bed.wells, settings)
        line = {"objective": ref, "control": subject.info.control, "promise": promise(subject.info)}
        line |= {"variance": variance, **checkpoint(subject, bed.WELLS, passes, noise=False)}
        lines.append(line)
    return lines


def family(refs: Sequence[str], settings: Settings, jobs: int) -> pd.DataFrame:
    """The error of every estimator of one divergence against the noise scale, and of the divergence's two limits."""
    found = joblib.Parallel(n_jobs=jobs)(joblib.delayed(one_divergence)(ref, settings) for ref in refs)
    return pd.DataFrame([line for lines in [*found, limits()] for line in lines])


def limits() -> list[dict[str, Any]]:
    """The gradients of T times score matching and of maximum likelihood, in place of that at σ² = T."""
    arguments = (bed.NEAR, bed.wells, bed.WELLS)
    lines = []
    for variance in VARIANCES:
        exact = divergences.gradient("diffusion contrastive", *arguments, {"sigma": math.sqrt(variance)})
        small = variance * divergences.gradient("fisher", *arguments, {})
        large = divergences.gradient("maximum likelihood", *arguments, {})
        for name, gradient in (("score matching × σ²", small), ("maximum likelihood", large)):
            about = {"objective": name, "control": False, "promise": "limit", "variance": variance, "status": "ok"}
            compared = {f"{k}_own": v for k, v in compare(Gradient(gradient.unsqueeze(0), 0), exact).items()}
            lines.append({**about, "method": "integrated", **compared})
    return lines
