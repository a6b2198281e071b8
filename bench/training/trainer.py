"""All of a run that changes as it trains: data, energy, objective and optimiser. The only optimiser code."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from bench.common import run_spec
from bench.common.run_spec import OptimiserSpec, RunSpec
from bench.core.data_types import Data
from bench.core.derivatives import Energy
from bench.core.precision import autocast_energy, matmul_precision
from bench.core.quadrature import freeze
from bench.core.rng import Rng
from bench.evaluation.trained_energy import TrainedEnergy
from bench.plugins import builders
from bench.plugins.objective import Objective
from bench.training import stopwatch, work_counter
from bench.training.adam import Adam
from bench.training.pace import in_units_of
from bench.training.schedule import Schedule, StepSchedule, TimeSchedule
from bench.training.step_memory import step_bytes

CHECK_EVERY = 50  # steps between two looks at the loss, which make a GPU wait
GATHERED = 2**20  # numbers of training data gathered at once, at most


@dataclass
class Learner:
    """An energy, its objective and the optimiser of both; `rates` are the peak learning rates of a stack's seeds."""

    energy: nn.Module
    objective: Objective
    settings: OptimiserSpec
    precision: str = run_spec.FULL_PRECISION
    rates: Sequence[float] | None = None

    def __post_init__(self) -> None:
        groups: list[dict[str, Any]] = [{"params": list(self.energy.parameters())}, *self.objective.param_groups()]
        # an adversary's own rate is a hyper-parameter, the same for all
        self._shared: list[Tensor] = [p for group in groups if "lr" not in group for p in group["params"]]
        for group in groups:
            group["peak_lr"] = group.setdefault("lr", self.settings.lr)
        self.optimiser = Adam(groups, self.settings.betas)
        self._factors = (
            None if self.rates is None else [_factors(p, self.rates, self.settings.lr) for p in self._shared]
        )
        self.trained: list[Tensor] = [p for group in groups for p in group["params"]]

    def update(self, energy: Energy, x: Tensor, rng: Rng, factor: float = 1.0) -> Tensor:
        """One step on a batch at `factor` of the peak learning rate; returns the mean loss, () or (S,) for a stack.

        The gradient is that of the mean over examples and the sum over seeds, so that each seed takes its own step.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak_lr"] * factor
        count = self.settings.accumulate
        losses: list[Tensor] = []
        with matmul_precision(self.precision):
            for part in x.chunk(count, rng.batch_ndim - 1) if count > 1 else (x,):
                loss: Tensor = self.objective(autocast_energy(energy, self.precision), part, rng).mean(-1)
                if not losses:
                    self.optimiser.zero_grad()  # after the loss, which may have gone backward itself
                losses.append(loss if count == 1 else loss / count)
                # only what is trained: a plain backward would also fill the gradients of the scores' inputs
                losses[-1].sum().backward(inputs=self.trained)
        if self.settings.clip is not None:
            _clip_each_seed(self.trained, self.settings.clip, batch_ndim=rng.batch_ndim)
        if self._factors is None:
            self.optimiser.step()
        else:
            before = [p.detach().clone() for p in self._shared]
            self.optimiser.step()
            _lengthen_steps(self._shared, before, self._factors)
        return losses[0].detach() if count == 1 else torch.stack([loss.detach() for loss in losses]).sum(0)


def update_ema(average: list[Tensor], weights: list[Tensor], t: int, ema: float) -> None:
    """Takes the weights after step t, counted from 0, into their exponential moving average.

    Its decay grows as (1 + t) / (10 + t) up to `ema`, so that the initial weights are forgotten.
    """
    torch._foreach_lerp_(average, weights, 1 - min(ema, (1 + t) / (10 + t)))


@dataclass
class Model:
    """What one seed has learned, as if it had been alone.

    Attributes:
        data: its data set.
        network: a network that its weights fit.
        objective: what it was trained by, in a stack that of all seeds.
        weights, average: its last weights and their moving average; views, which follow the training.
        log_z: the objective's own estimate of log Z of the last weights, (1,), a view, too; None if it makes none.
    """

    spec: RunSpec
    seed: int
    data: Data
    network: nn.Module
    objective: Objective
    weights: list[Tensor]
    average: list[Tensor]
    log_z: Tensor | None = None

    def energy_with(self, weights: list[Tensor]) -> TrainedEnergy:
        """The energy under given weights; a noise-conditional one at the objective's smallest noise level.

        It has the objective's estimate of log Z if these are the last weights, the only ones that it is of.
        """
        network = copy.deepcopy(self.network).requires_grad_(False)
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(weight)
        conditional = self.spec.network.conditional
        shrinks = conditional and self.objective.hyper.get("kernel") == "vp"
        log_z = float(self.log_z) if self.log_z is not None and weights is self.weights else None
        return TrainedEnergy(
            network,
            levels=self.levels,
            conditional=bool(conditional),
            noise=self.data.noise,
            shrinks=shrinks,
            log_z_estimate=log_z,
        )

    @property
    def levels(self) -> tuple[float, float] | None:
        """The noise levels at which the objective says that its energy is that of the smoothed data, in units of x."""
        hyper, info = self.objective.values, self.objective.info
        if info.energy == "noise":
            low, high = float(hyper["sigma_min"]), float(hyper.get("sigma_max", hyper["sigma_min"]))
            if info.levels == "intervals":
                high *= (low / high) ** (1 / hyper["levels"])
            if hyper.get("kernel") == "vp":
                low, high = (sigma / math.sqrt(1 - sigma**2) for sigma in (low, high))
            return low, high
        if hyper.get("kernel") == "vp":
            return None  # a static energy of data that shrink
        if info.minimiser == "smoothed" and "sigma" in hyper:
            return float(hyper["sigma"]), float(hyper["sigma"])
        return None


class Trainer:
    """All of a run that changes as it trains, for one seed or for a stack of seeds.

    Adam with linear warm-up and cosine decay. Beside the weights runs their exponential moving average.

    Args:
        rates: a stack's peak learning rates, one a seed; None for the one of the spec.
    """

    def __init__(
        self, spec: RunSpec, seed: int | list[int], device: torch.device, rates: Sequence[float] | None = None
    ) -> None:
        self.spec, self.seed, self.device = spec, seed, device
        # data and initial weights are drawn on the CPU, so that every device starts from the same numbers
        self.data_rng = Rng(seed, "data")
        self.rng = Rng(seed, "objective", device)
        self.data = freeze(builders.planned_dataset(spec.dataset, self.data_rng).to(device))
        self._version = self.data.train._version  # grows with every change in place
        self.energy = self._network(seed, self.data.train)
        objective = self._objective(self.rng)
        self.learner = Learner(self.energy, objective, spec.optimiser, spec.precision, rates)
        self.weights: list[Tensor] = list(self.energy.parameters())
        self.average = [w.detach().clone() for w in self.weights]
        self._detached = [w.detach() for w in self.weights]  # views, made once
        self.schedule: Schedule = self.paced(spec.budget.steps)
        self._batches = self._draw_batches()

    def check_data(self) -> None:
        """Holds the training data to what they were before the first step.

        Raises:
            RuntimeError: if the objective has changed them in place.
        """
        if self.data.train._version != self._version:
            name = self.spec.objective.label
            raise RuntimeError(f"{name} changed the training data in place; work on a copy: x = x.clone()")

    def _network(
        self, seed: int | list[int], x_train: Tensor, *, conditional: run_spec.Conditional | None = None
    ) -> nn.Module:
        rng, about = Rng(seed, "init"), self.spec.network
        event = tuple(x_train.shape[rng.batch_ndim :])
        noise = about.conditional if conditional is None else conditional
        network = builders.network(about.ref, event, rng, conditional=noise, x_train=x_train.cpu(), **about.params)
        return network.to(self.device)

    def _objective(self, rng: Rng) -> Objective:
        about, scale = self.spec.objective, self.data.local_scale
        built = builders.objective(about.ref, self.data.train, rng, local_scale=scale, **about.params)
        return built.to(self.device)

    def twin(self) -> tuple[nn.Module, Objective]:
        """The network and the objective as they were before the first step."""
        return self._network(self.seed, self.data.train), self._objective(Rng(self.seed, "objective", self.device))

    def paced(self, steps: int) -> StepSchedule:
        """The pace of a given number of steps."""
        return StepSchedule(steps, self.spec.optimiser, self.spec.evaluation.checkpoints)

    def timed(self, seconds: float, clock: stopwatch.Clock) -> TimeSchedule:
        """The pace of a given number of seconds on the training clock; a GPU is not made to wait after each step."""
        every = CHECK_EVERY if self.device.type == "cuda" else 1
        optimiser, checkpoints = self.spec.optimiser, self.spec.evaluation.checkpoints
        return TimeSchedule(seconds, optimiser, checkpoints, lambda: clock.seconds, every)

    @cached_property
    def models(self) -> list[Model]:
        """What each seed has learned."""
        objective, log_z = self.learner.objective, self.learner.objective.log_z
        if isinstance(self.seed, int):
            return [Model(self.spec, self.seed, self.data, self.energy, objective, self.weights, self.average, log_z)]
        return [
            Model(
                self.spec,
                seed,
                self.data.of_seed(k),
                self._network(seed, self.data.train[k]),
                objective,
                [w[k] for w in self._detached],
                [w[k] for w in self.average],
                None if log_z is None else log_z[k],
            )
            for k, seed in enumerate(self.seed)
        ]

    def batch(self) -> Tensor:
        """The next training batch, drawn with replacement; the same for every objective at a seed."""
        return next(self._batches)

    def _draw_batches(self) -> Iterator[Tensor]:
        train, size, axis = self.data.train, self.spec.budget.batch, self.rng.batch_ndim - 1
        event = train.shape[self.rng.batch_ndim :].numel()
        at_once = size * min(CHECK_EVERY, max(1, GATHERED // (size * event)))
        while True:
            # many batches at once: one draw, one transfer to the device, and few gathers
            drawn = self.data_rng.integers(train.shape[axis], self.data_rng.batch_shape(CHECK_EVERY * size))
            for index in drawn.to(self.device).split(at_once, -1):
                if axis == 0:
                    yield from train[index].split(size)
                else:
                    yield from torch.stack([x[i] for x, i in zip(train, index, strict=True)]).split(size, 1)

    def step(self, t: int) -> Tensor:
        """Training step t, counted from 0; returns the mean loss, () or (S,)."""
        loss = self.learner.update(self.energy, self.batch(), self.rng, self.schedule.lr_factor(t))
        update_ema(self.average, self._detached, t, self.schedule.ema_decay(t))
        return loss

    def count(self) -> work_counter.Work:
        """The work of one step in float32, counted on copies: weights, chains and random streams stay as they are."""
        learner, x, rng = self._rehearsal(run_spec.FULL_PRECISION)

        def rehearse(calls: list[work_counter.Call]) -> None:
            learner.update(work_counter.count_calls(learner.energy, calls, rng.batch_ndim), x, rng)

        return work_counter.count_work(rehearse, batch=x.shape[: rng.batch_ndim].numel())

    def step_seconds(self, steps: int) -> float:
        """The median seconds of a step, over `steps` that are taken on copies after half as many more.

        Of the processor, which a busy machine hardly lengthens; on a GPU on the wall.
        """
        learner, x, rng = self._rehearsal()
        on_gpu = self.device.type == "cuda"
        now = time.perf_counter if on_gpu else time.process_time
        laps = []
        for _ in range(steps + steps // 2):
            began = now()
            learner.update(learner.energy, x, rng)
            if on_gpu:
                torch.cuda.synchronize()
            laps.append(now() - began)
        return median(laps[steps // 2 :])

    def step_time_in_flops(self) -> float:
        """The FLOPs that forward and backward passes of the network over a batch make in the time of a step.

        The network is the suite's, in float32 and without a noise level beside x: one unit for all objectives.
        """
        learner, x, rng = self._rehearsal()
        network = self._network(self.seed, self.data.train, conditional=False)
        parameters = list(network.parameters())

        def bare_pass() -> None:
            torch.autograd.grad(network(x).mean(), parameters)

        flops = work_counter.count_work(lambda calls: bare_pass(), batch=len(x)).flops
        return flops * in_units_of(lambda: learner.update(learner.energy, x, rng), bare_pass, self.device)

    def step_bytes(self) -> int:
        """The memory of a step, counted on copies; the training data come on top."""
        learner, x, rng = self._rehearsal()
        return step_bytes(lambda: learner.update(learner.energy, x, rng), learner.energy, learner.objective)

    def _rehearsal(self, precision: str = "") -> tuple[Learner, Tensor, Rng]:
        """Copies of what learns, in the run's precision or another, a batch and numbers that no run draws."""
        copies = copy.deepcopy((self.energy, self.learner.objective))
        learner = Learner(*copies, self.spec.optimiser, precision or self.spec.precision, self.learner.rates)
        rng = Rng(self.seed, "count", self.device)
        axis, batch = rng.batch_ndim - 1, self.spec.budget.batch
        # a copy, as a batch is one; examples come again where there are fewer than a batch
        rows = torch.arange(batch, device=self.device) % self.data.train.shape[axis]
        return learner, self.data.train.index_select(axis, rows), rng


def _factors(parameter: Tensor, rates: Sequence[float], lr: float) -> Tensor:
    """Each seed's learning rate in units of the optimiser's, (S, 1, ...), to broadcast against a parameter."""
    found = torch.tensor([rate / lr for rate in rates], dtype=parameter.dtype, device=parameter.device)
    return found.reshape(-1, *[1] * (parameter.ndim - 1))


@torch.no_grad()
def _lengthen_steps(parameters: list[Tensor], before: list[Tensor], factors: list[Tensor]) -> None:
    """Lengthens each seed's last step by its factor; a step of Adam is proportional to the learning rate."""
    for p, start, factor in zip(parameters, before, factors, strict=True):
        torch.lerp(start, p, factor, out=p.detach())


def _clip_each_seed(parameters: list[Tensor], limit: float, *, batch_ndim: int) -> None:
    """Scales each seed's gradient to a norm of at most `limit`; a stack's parameters begin with S."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.flatten(batch_ndim - 1).square().sum(-1) for g in gradients]).sum(0).sqrt()
    scale = (limit / (norm + 1e-12)).clamp(max=1.0)
    for g in gradients:
        g.mul_(scale.reshape(scale.shape + (1,) * (g.ndim - scale.ndim)))
