"""Training of networks that denoise and are no energy, on the suite's data, optimiser, batches and budget."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.common.errors import UsageError
from bench.common.run_spec import RunSpec, Value
from bench.core.data_types import Data
from bench.core.derivatives import per_example, sum_event
from bench.core.noising import noise_levels
from bench.core.rng import Rng
from bench.evaluation.denoising import LEVELS, NO_LEVEL, SMOOTHER, in_units
from bench.evaluation.sampling import AT_ONCE
from bench.plugins import builders, registry
from bench.samplers.noise_levels import ANCESTRAL_LEVELS, ancestral_by_score
from bench.training import stopwatch, work_counter
from bench.training.loop import Keeper, Outcome
from bench.training.schedule import Schedule, StepSchedule, TimeSchedule
from bench.training.trainer import Learner, update_ema

MARGIN = 1.5  # how far, as a factor, training levels reach beyond those that are judged, where a network has none


@dataclass(frozen=True)
class NoiseLaw:
    """The law of σ in training: ln σ uniform between the ends, or N(ln median, spread²) clipped to them."""

    low: float
    high: float
    median: float | None = None
    spread: float = 1.0

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        """A level for each example of x, (B,), in the type of x."""
        if self.median is not None:
            return (math.log(self.median) + self.spread * rng.normal(x.shape[:1], x.dtype)).exp().clamp(*self.ends)
        return self.low * (rng.uniform(x.shape[:1], x.dtype) * math.log(self.high / self.low)).exp()

    @property
    def ends(self) -> tuple[float, float]:
        return self.low, self.high


def noise_law(params: Mapping[str, Any], data: Data) -> NoiseLaw:
    """That of a network's own parameters, else uniform a little beyond the levels that denoising is judged at.

    Raises:
        UsageError: if `sigma_max` does not exceed `sigma_min`, or the data have more noise than is to be removed.
    """
    if "sigma_min" not in params:
        judged = [in_units(data, level) for level in LEVELS]
        added = [math.sqrt(sigma**2 - data.noise**2) for sigma in judged if sigma > data.noise]
        if not added:
            raise UsageError(f"{data.name} has noise of {data.noise:g}, above all that is to be removed; lower sigma")
        return NoiseLaw(added[0] / MARGIN, added[-1] * MARGIN)
    low, high = float(params["sigma_min"]), float(params["sigma_max"])
    if not low < high:
        raise UsageError(f"sigma_max must exceed sigma_min, {low:g}; got {high:g}")
    if params.get("sigma_law") == "log-normal":
        return NoiseLaw(low, high, float(params["median"]), float(params["spread"]))
    return NoiseLaw(low, high)


class Regression(nn.Module):
    """½‖F(x + σz, σ) - z‖², σ by a `NoiseLaw`: denoising score matching of s = -F/σ; an objective, but of no energy."""

    def __init__(self, law: NoiseLaw) -> None:
        super().__init__()
        self.law = law

    def forward(self, network: nn.Module, x: Tensor, rng: Rng) -> Tensor:
        sigma = self.law.draw(x, rng)
        z = rng.normal_like(x)
        return 0.5 * sum_event((network(x + per_example(sigma, x) * z, sigma) - z).square(), rng)

    def param_groups(self) -> list[dict[str, Any]]:
        """Nothing beside the network."""
        return []


@dataclass
class Learned:
    """A trained network: (y, σ) -> E[x|y] by its regression, and samples by its score.

    Attributes:
        noise: the standard deviation of noise in the training data. The network knows the noise τ that was added to
            them; of y = x + σw with σ² = τ² + noise², E[x|y] is y - (σ²/τ) F(y, τ).
        law: the noise levels that it was trained at.
    """

    network: nn.Module
    noise: float
    law: NoiseLaw | None = None

    @torch.no_grad()
    def __call__(self, y: Tensor, sigma: float) -> Tensor:
        """The denoised images, shaped as y; ask `refusal` first."""
        added = math.sqrt(sigma**2 - self.noise**2)
        return y - sigma**2 / added * self._estimate(y, added)

    def refusal(self, sigma: float) -> str:
        """Why it cannot remove noise of σ, as energies say it; "" if it can."""
        if sigma <= self.noise:
            return SMOOTHER
        added = math.sqrt(sigma**2 - self.noise**2)
        return "" if self.law is None or self.law.low <= added <= self.law.high else NO_LEVEL

    @torch.no_grad()
    def samples(self, data: Data, n: int, rng: Rng) -> Tensor:
        """(n, C, H, W) by ancestral sampling, as energies of every level are sampled: from σ_max to σ_min and on to 0.

        `AT_ONCE` of them by `AT_ONCE`.

        It starts from N(μ, σ_max² + v), of the mean and the variance of the data: at σ_max they are hardly seen.
        """
        assert self.law is not None
        if n > AT_ONCE:
            counts = [min(AT_ONCE, n - k) for k in range(0, n, AT_ONCE)]
            return torch.cat([self.samples(data, count, rng) for count in counts])
        low, high = self.law.ends
        like = data.train[:1].expand(n, *data.train.shape[1:])
        start = data.train.mean(0) + math.sqrt(high**2 + float(data.train.var())) * rng.normal_like(like)
        levels = noise_levels(low, high, ANCESTRAL_LEVELS, start)
        return ancestral_by_score(
            lambda x, sigma: -self._estimate(x, sigma) / sigma, start, rng, sigmas=[0.0, *levels.tolist()]
        )

    def _estimate(self, y: Tensor, sigma: float) -> Tensor:
        found: Tensor = self.network(y, y.new_full(y.shape[:1], sigma))
        return found


def untrained(
    plugin: registry.Plugin,
    event: tuple[int, ...],
    seed: int,
    params: Mapping[str, Any],
    network: Mapping[str, Value],
    x_train: Tensor | None = None,
) -> nn.Module:
    """A denoiser's network before training, on the trunk of a suite's network if it wants one.

    Args:
        event: the shape of an image.
        params: the denoiser's own hyper-parameters.
        network: the suite's `name` of a network and its hyper-parameters.
        x_train: training images, by which a network may centre and scale what it sees.
    """
    known = plugin.resolve(**params)
    if plugin.info.trunk:
        settings = {name: value for name, value in network.items() if name != "name"}
        ref, rng = str(network["name"]), Rng(seed, "init")
        trunk = builders.network(ref, event, rng, conditional=True, x_train=x_train, **settings)
        return cast(nn.Module, plugin.target(event, Rng(seed, "init decoder"), trunk, **known))
    built = cast(nn.Module, plugin.target(event, Rng(seed, "init"), **known))
    calibrate = getattr(built, "calibrate", None)
    if calibrate is not None and x_train is not None:
        calibrate(x_train)
    return built


class DenoiserTrainer:
    """All of a denoiser that changes as it trains, where its data lie; it is kept as an energy's trainer is.

    Attributes:
        data_rng: the stream that the data were drawn from; batches go on with it, as those of energies do.
        work: the work of a step.
        law: the noise levels that it is trained at.
        seconds: the budget where it is of seconds, `times` so many; else None.
        steps: how many the suite's track allows, `times` so many; on a budget of seconds how many were taken.
        clock: seconds of training.
    """

    def __init__(self, spec: RunSpec, plugin: registry.Plugin, data: Data, data_rng: Rng) -> None:
        self.spec, self.plugin, self.data, self.device = spec, plugin, data, data.train.device
        self.law = noise_law(spec.objective.params, data)
        self.energy, objective = self.twin()
        self.learner = Learner(self.energy, objective, spec.optimiser, spec.precision)  # type: ignore[arg-type]
        self.work = _work(self.learner, data.train[: spec.budget.batch])
        budget = spec.budget.times(float(spec.objective.params.get("times", 1.0)))  # type: ignore[arg-type]
        flops = budget.flops if spec.track == "equal_flops" else None
        self.seconds = budget.seconds if spec.track == "equal_seconds" else None
        self.steps = budget.steps if flops is None else max(1, int(flops / self.work.flops))
        self.data_rng, self.rng = data_rng, Rng(spec.seed, "objective", self.device)
        self.clock = stopwatch.Stopwatch(self.device)
        self.schedule: Schedule = self.paced(self.steps)
        if self.seconds is not None:
            self.schedule = TimeSchedule(self.seconds, spec.optimiser, 1, lambda: self.clock.seconds)
        self.weights = [w.detach() for w in self.energy.parameters()]
        self.average = [w.clone() for w in self.weights]

    def twin(self) -> tuple[nn.Module, nn.Module]:
        """The network and the regression as they are before the first step."""
        about, params = {"name": self.spec.network.ref, **self.spec.network.params}, self.spec.objective.params
        event = tuple(self.data.train.shape[1:])
        # initial weights are drawn on the CPU, so that every device starts from the same numbers
        network = untrained(self.plugin, event, self.spec.seed, params, about, self.data.train.cpu())
        return network.to(self.device), Regression(self.law)

    def paced(self, steps: int) -> StepSchedule:
        """The pace of a given number of steps."""
        return StepSchedule(steps, self.spec.optimiser, 1)

    def step(self, t: int) -> Tensor:
        """Training step t, counted from 0; returns the mean loss, ()."""
        drawn = self.data_rng.integers(len(self.data.train), (self.spec.budget.batch,))
        x = self.data.train[drawn.to(self.device)]
        loss = self.learner.update(self.energy, x, self.rng, self.schedule.lr_factor(t))
        update_ema(self.average, self.weights, t, self.schedule.ema_decay(t))
        return loss

    def train(self, keeper: Keeper | None = None) -> Learned:
        """Trains to the end; the weights are the moving average, as energies' are.

        Args:
            keeper: writes checkpoints, off the clock, and goes on from an earlier one.
        """
        outcome = Outcome()
        t = 0 if keeper is None else keeper.resume(self, [outcome], [self.clock], [lambda line: None])
        self.clock.start()
        while not self.schedule.finished(t):
            self.step(t)
            t += 1
            self.schedule.checkpoint_due(t)  # which looks at the clock; nothing is recorded before the end
            if keeper is not None and keeper.due(t):
                self.clock.stop()
                keeper.save(self, t, [outcome], [self.clock])
                self.clock.start()
        self.clock.stop()
        if keeper is not None:
            keeper.close()
        self.steps = t
        torch._foreach_copy_(self.weights, self.average)
        return Learned(self.energy, self.data.noise, self.law)


def _work(learner: Learner, x: Tensor) -> work_counter.Work:
    rehearsed = Learner(*copy.deepcopy((learner.energy, learner.objective)), learner.settings)
    rng = Rng(0, "count", x.device)

    def step(calls: list[work_counter.Call]) -> None:
        rehearsed.update(rehearsed.energy, x, rng)

    return work_counter.count_work(step, batch=len(x))
