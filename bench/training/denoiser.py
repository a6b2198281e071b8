"""Training of a learned denoiser: the ruler that is no energy, on the suite's data, optimiser, batches and budget."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
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
from bench.training.schedule import StepSchedule
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
    work: work_counter.Work = field(default_factory=work_counter.Work)
    steps: int = 0
    clock: stopwatch.Stopwatch = field(default_factory=lambda: stopwatch.Stopwatch(torch.device("cpu")))

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


def prepare(spec: RunSpec, plugin: registry.Plugin, data: Data) -> tuple[Learner, work_counter.Work, int]:
    """A denoiser to be trained, the work of a step, and how many steps the suite's track allows."""
    known = {k: v for k, v in spec.network.params.items() if k in plugin.parameters}
    network: nn.Module = plugin.target(tuple(data.train.shape[1:]), Rng(spec.seed, "init"), **plugin.resolve(**known))
    added = [math.sqrt(in_units(data, level) ** 2 - data.noise**2) for level in (LEVELS[0], LEVELS[-1])]
    objective = Regression(added[0] / MARGIN, added[1] * MARGIN)
    learner = Learner(network, objective, spec.optimiser, spec.precision)  # type: ignore[arg-type]
    work = _work(learner, data.train[: spec.budget.batch])
    flops = spec.budget.flops if spec.track == "equal_flops" else None
    return learner, work, spec.budget.steps if flops is None else max(1, int(flops / work.flops))


def learned(spec: RunSpec, plugin: registry.Plugin, data: Data) -> Learned:
    """Trains a denoiser for the suite's steps or FLOPs; the weights are the moving average, as energies' are."""
    learner, work, steps = prepare(spec, plugin, data)
    network = learner.energy
    batches, rng, size = Rng(spec.seed, "data"), Rng(spec.seed, "objective"), spec.budget.batch
    schedule = StepSchedule(steps, spec.optimiser, 1)
    weights = [w.detach() for w in network.parameters()]
    average = [w.clone() for w in weights]
    clock = stopwatch.Stopwatch(torch.device("cpu"))
    clock.start()
    for t in range(steps):
        x = data.train[batches.integers(len(data.train), (size,))]
        learner.update(network, x, rng, schedule.lr_factor(t))
        update_ema(average, weights, t, schedule.ema_decay(t))
    clock.stop()
    torch._foreach_copy_(weights, average)
    return Learned(network, data.noise, work, steps, clock)


def _work(learner: Learner, x: Tensor) -> work_counter.Work:
    rehearsed, rng = Learner(*copy.deepcopy((learner.energy, learner.objective)), learner.settings), Rng(0, "count")

    def step(calls: list[work_counter.Call]) -> None:
        rehearsed.update(rehearsed.energy, x, rng)

    return work_counter.count_work(step, batch=len(x))
