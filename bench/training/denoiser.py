"""Training of a learned denoiser: the ruler that is no energy, on the suite's data, optimiser, batches and budget."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.common.run_spec import RunSpec
from bench.core.data_types import Data
from bench.core.derivatives import per_example, sum_event
from bench.core.rng import Rng
from bench.evaluation.denoising import LEVELS, in_units
from bench.plugins import registry
from bench.training import stopwatch, work_counter
from bench.training.loop import Keeper, Outcome
from bench.training.schedule import Schedule, StepSchedule
from bench.training.trainer import Learner, update_ema

MARGIN = 1.5  # how far, as a factor, training levels reach beyond those that are judged


class Regression(nn.Module):
    """½‖F(x + σz, σ) - z‖², ln σ uniform a little beyond the levels that are judged; an objective, but of no energy."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, network: nn.Module, x: Tensor, rng: Rng) -> Tensor:
        x = _extended(x)
        sigma = self.low * (rng.uniform(x.shape[:1], x.dtype) * math.log(self.high / self.low)).exp()
        z = rng.normal_like(x)
        return 0.5 * sum_event((network(x + per_example(sigma, x) * z, sigma) - z).square(), rng)

    def param_groups(self) -> list[dict[str, Any]]:
        """Nothing beside the network."""
        return []


@dataclass
class Learned:
    """A trained denoiser: (y, σ) -> E[x|y] by its regression.

    Attributes:
        noise: the standard deviation of noise in the training data. The network knows the noise τ that was added to
            them; of y = x + σw with σ² = τ² + noise², E[x|y] is y - (σ²/τ) F(y, τ).
    """

    network: nn.Module
    noise: float

    @torch.no_grad()
    def __call__(self, y: Tensor, sigma: float) -> Tensor:
        """The denoised images, shaped as y, whose sides are extended to multiples of 8 by reflection."""
        added = math.sqrt(sigma**2 - self.noise**2)
        estimate: Tensor = self.network(_extended(y), y.new_full(y.shape[:1], added))[..., : y.shape[-2], : y.shape[-1]]
        return y - sigma**2 / added * estimate


def _extended(x: Tensor) -> Tensor:
    """Images whose sides are multiples of 8, as a network of three halvings needs, by reflection."""
    right, below = (-n % 8 for n in (x.shape[-1], x.shape[-2]))
    return nn.functional.pad(x, (0, right, 0, below), mode="reflect")


class DenoiserTrainer:
    """All of a denoiser that changes as it trains; its checkpoints are taken as those of an energy are.

    Attributes:
        work: the work of a step.
        steps: how many the suite's track allows.
        clock: seconds of training.
    """

    def __init__(self, spec: RunSpec, plugin: registry.Plugin, data: Data) -> None:
        self.spec, self.plugin, self.data = spec, plugin, data
        self.energy, objective = self.twin()
        self.learner = Learner(self.energy, objective, spec.optimiser, spec.precision)  # type: ignore[arg-type]
        self.work = _work(self.learner, data.train[: spec.budget.batch])
        flops = spec.budget.flops if spec.track == "equal_flops" else None
        self.steps = spec.budget.steps if flops is None else max(1, int(flops / self.work.flops))
        self.data_rng, self.rng = Rng(spec.seed, "data"), Rng(spec.seed, "objective")
        self.schedule: Schedule = self.paced(self.steps)
        self.weights = [w.detach() for w in self.energy.parameters()]
        self.average = [w.clone() for w in self.weights]
        self.clock = stopwatch.Stopwatch(torch.device("cpu"))

    def twin(self) -> tuple[nn.Module, nn.Module]:
        """The network and the regression as they are before the first step."""
        known = {k: v for k, v in self.spec.network.params.items() if k in self.plugin.parameters}
        event, rng = tuple(self.data.train.shape[1:]), Rng(self.spec.seed, "init")
        network: nn.Module = self.plugin.target(event, rng, **self.plugin.resolve(**known))
        low, high = (
            math.sqrt(in_units(self.data, level) ** 2 - self.data.noise**2) for level in (LEVELS[0], LEVELS[-1])
        )
        return network, Regression(low / MARGIN, high * MARGIN)

    def paced(self, steps: int) -> StepSchedule:
        """The pace of a given number of steps."""
        return StepSchedule(steps, self.spec.optimiser, 1)

    def step(self, t: int) -> Tensor:
        """Training step t, counted from 0; returns the mean loss, ()."""
        x = self.data.train[self.data_rng.integers(len(self.data.train), (self.spec.budget.batch,))]
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
            if keeper is not None and keeper.due(t):
                self.clock.stop()
                keeper.save(self, t, [outcome], [self.clock])
                self.clock.start()
        self.clock.stop()
        if keeper is not None:
            keeper.close()
        torch._foreach_copy_(self.weights, self.average)
        return Learned(self.energy, self.data.noise)


def _work(learner: Learner, x: Tensor) -> work_counter.Work:
    rehearsed, rng = Learner(*copy.deepcopy((learner.energy, learner.objective)), learner.settings), Rng(0, "count")

    def step(calls: list[work_counter.Call]) -> None:
        rehearsed.update(rehearsed.energy, x, rng)

    return work_counter.count_work(step, batch=len(x))
