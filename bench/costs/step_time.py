"""What a training step costs: interleaved rounds in one process, in seconds and in a unit that travels.

The unit is "×fb": one forward and backward pass of the same network over the same batch, timed in the same rounds, so
that a busy or a slower machine moves both. Quality is not looked at; the data are standard normal.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from bench.common.quiet_process import quieten
from bench.common.run_spec import OptimiserSpec, RunSpec
from bench.common.statistics import Interval, median_interval
from bench.core.derivatives import CLOSED_FORMS, Energy, score, without_closed_forms
from bench.core.rng import Rng
from bench.plugins import builders, registry
from bench.training import stopwatch, work_counter
from bench.training.loop import advance, find_divergence
from bench.training.trainer import Learner, Trainer

WARM_UP = 3
ROUND_SECONDS = 0.02  # long enough that the clock's grain does not matter, short enough that rounds interleave
LOCAL_SCALE = 0.1  # any: it changes no operation
N_TRAIN = 2048
IMAGE = (1, 8, 8)


@dataclass(frozen=True)
class Setting:
    """One point of the grid that is measured: a network, examples a step, dimensions of an event."""

    network: str = "mlp[width=64,depth=2]"
    batch: int = 128
    dim: int = 2

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,); for an image network one channel of 8x8, whatever `dim` says."""
        return IMAGE if registry.find("networks", self.network).info.event == "image" else (self.dim,)


def grid(networks: Sequence[str] | None, batches: Sequence[int] | None) -> list[Setting]:
    """Every network with every batch size; None for the default."""
    default = Setting()
    return [Setting(n, b) for n in networks or [default.network] for b in batches or [default.batch]]


class Subject:
    """Something that is timed; a call does the work of one step."""

    def __init__(self, call: Callable[[], object], device: torch.device) -> None:
        self.call, self.device = call, device
        self.repeats = 1
        self.seconds: list[float] = []

    def prepare(self) -> None:
        """Warms up, then finds how many calls fill a round."""
        for _ in range(WARM_UP):
            self.call()
        self.repeats = max(1, round(ROUND_SECONDS / max(self.measure(), 1e-6)))

    def measure(self) -> float:
        """Seconds of one call: CPU time of the process, or between CUDA events on a GPU."""
        if self.device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for _ in range(self.repeats):
                self.call()
            end.record()
            torch.cuda.synchronize()
            return float(begin.elapsed_time(end)) / 1000 / self.repeats
        began = time.process_time()
        for _ in range(self.repeats):
            self.call()
        return (time.process_time() - began) / self.repeats


def interleave(subjects: Sequence[Subject], rounds: int, seed: int = 0) -> None:
    """Times every subject once a round, in an order that changes from round to round."""
    order = random.Random(seed)
    for subject in subjects:
        subject.prepare()
    for _ in range(rounds):
        for subject in order.sample(list(subjects), len(subjects)):
            subject.seconds.append(subject.measure())


@dataclass
class Bench:
    """A network and a batch, every objective's step on them, and the bare passes that those steps need.

    Attributes:
        steps: by objective; `autograd` has the same steps with autograd's derivatives, where the network has closed
            forms and the objective takes derivatives by its input.
        floors: the passes that each step needs at least.
    """

    setting: Setting
    device: torch.device
    passes: dict[tuple[str, int], Subject]
    steps: dict[str, Subject]
    autograd: dict[str, Subject]
    work: dict[str, work_counter.Work]
    floors: dict[str, list[tuple[str, int]]]

    @classmethod
    def build(cls, setting: Setting, objectives: Sequence[str], device: torch.device) -> Bench:
        """Everything that will be timed in one setting.

        Raises:
            UsageError: if an objective does not go with the setting.
        """
        data = training_data(setting, device)
        x = data[: setting.batch]
        unit = ("fb", len(x))
        bench = cls(setting, device, {unit: _bare_pass(setting, unit, device)}, {}, {}, {}, {})
        for ref in objectives:
            learner, rng = learner_of(ref, setting.network, data, device), Rng(0, "objective", device)
            calls: list[work_counter.Call] = []

            def rehearse(seen: list[work_counter.Call], learner: Learner = learner, rng: Rng = rng) -> None:
                learner.update(work_counter.count_calls(learner.energy, seen, 1), x, rng)

            bench.work[ref] = work_counter.count_work(rehearse, len(x))
            rehearse(calls)
            bench.floors[ref] = [(_kind(call), call.rows) for call in calls]
            bench.steps[ref] = Subject(partial(learner.update, learner.energy, x, rng), device)
            if bench.work[ref].input_gradients and any(hasattr(learner.energy, name) for name in CLOSED_FORMS):
                other = learner_of(ref, setting.network, data, device)
                plain = without_closed_forms(other.energy)
                bench.autograd[ref] = Subject(partial(other.update, plain, x, Rng(0, "objective", device)), device)
            for key in bench.floors[ref]:
                bench.passes.setdefault(key, _bare_pass(setting, key, device))
        return bench

    @property
    def subjects(self) -> list[Subject]:
        return [*self.passes.values(), *self.steps.values(), *self.autograd.values()]

    def lines(self) -> list[dict[str, Any]]:
        """One line an objective: step time, ×fb with its interval, floor, autograd's time over it, counted work."""
        unit = self.passes["fb", self.setting.batch].seconds
        found = []
        for ref, subject in self.steps.items():
            floor = [sum(self.passes[key].seconds[k] for key in self.floors[ref]) / u for k, u in enumerate(unit)]
            found.append(
                {
                    **columns(ref, self.setting, self.device),
                    **spread("step_ms", median_interval([1000 * s for s in subject.seconds])),
                    **spread(
                        "fwd_bwd_ratio", median_interval([s / u for s, u in zip(subject.seconds, unit, strict=True)])
                    ),
                    "floor_fwd_bwd_ratio": median_interval(floor).mean,
                    **spread("autograd_ratio", self._autograd_ratio(ref)),
                    "mflops": self.work[ref].flops / 1e6,
                    **{k: v for k, v in self.work[ref].scaled(1).items() if k != "flops"},
                }
            )
        return found

    def _autograd_ratio(self, ref: str) -> Interval:
        if ref not in self.autograd:
            return Interval(None, None, None, 0)
        pairs = zip(self.autograd[ref].seconds, self.steps[ref].seconds, strict=True)
        return median_interval([plain / own for plain, own in pairs])


def training_data(setting: Setting, device: torch.device) -> Tensor:
    """Standard normal examples, (n, *event), of which a batch is the first."""
    return Rng(0, "data").normal((max(N_TRAIN, setting.batch), *setting.event_shape)).to(device)


def columns(ref: str, setting: Setting, device: torch.device) -> dict[str, Any]:
    """What a line of a table is about."""
    return {
        "objective": ref,
        "network": setting.network,
        "batch": setting.batch,
        "dim": math.prod(setting.event_shape),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    }


def _kind(call: work_counter.Call) -> str:
    """The bare pass that a call of the network is at least: a score, one that is differentiated, or neither."""
    if call.double_backwards:
        return "double"
    return "score" if call.input_gradients else "fb"


def _bare_pass(setting: Setting, key: tuple[str, int], device: torch.device) -> Subject:
    """Network passes alone, on `rows` examples: no noise, no sampler, no optimiser."""
    kind, rows = key
    network = builders.network(setting.network, setting.event_shape, Rng(0, "init")).to(device)
    x, parameters = Rng(0, "data").normal((rows, *setting.event_shape)).to(device), list(network.parameters())
    calls: dict[str, Callable[[], object]] = {
        "fb": lambda: torch.autograd.grad(network(x).mean(), parameters),
        "score": lambda: score(network, x),
        "double": lambda: torch.autograd.grad(
            score(network, x, create_graph=True).square().mean(), parameters, allow_unused=True
        ),
    }
    return Subject(calls[kind], device)


def spread(name: str, interval: Interval) -> dict[str, float | None]:
    """An interval in three columns."""
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def learner_of(ref: str, network: str, data: Tensor, device: torch.device) -> Learner:
    """An objective and a network at its initial weights.

    Raises:
        UsageError: if they do not go together.
    """
    conditional = registry.find("objectives", ref).info.conditional
    energy = builders.network(network, tuple(data.shape[1:]), Rng(0, "init"), conditional=conditional).to(device)
    objective = builders.objective(ref, data, Rng(0, "objective", device), local_scale=LOCAL_SCALE).to(device)
    return Learner(energy, objective, OptimiserSpec())


def measure_costs(
    settings: Sequence[Setting], objectives: Sequence[str], *, rounds: int, device: torch.device
) -> pd.DataFrame:
    """Every objective in every setting, all of them in the same rounds; one line each.

    Raises:
        UsageError: if an objective, a network or a setting is not as it must be.
    """
    quieten()
    benches = [Bench.build(setting, objectives, device) for setting in settings]
    interleave([subject for bench in benches for subject in bench.subjects], rounds)
    return pd.DataFrame([line for bench in benches for line in bench.lines()])


def overhead(spec: RunSpec, *, rounds: int, device: torch.device) -> Interval:
    """The share of training that is neither objective nor optimiser nor network: the harness's own.

    The loop of a run, up to and with a look at the losses (batches, schedule, average of the weights, clock, the search
    for divergence), around an update that does nothing, against the same loop around the real one, in the same rounds.
    What a run spends before and after training is `outside`.
    """
    quieten()
    real, idle = Trainer(spec, 0, device), Trainer(spec, 0, device)
    idle.learner = _Idle(idle.energy, idle.learner.objective, spec.optimiser)
    whole, part = (Subject(partial(_stretch, trainer, stopwatch.Stopwatch(device)), device) for trainer in (real, idle))
    interleave([whole, part], rounds)
    return median_interval([b / a for a, b in zip(whole.seconds, part.seconds, strict=True)])


class _Idle(Learner):
    """Updates nothing."""

    def update(self, energy: Energy, x: Tensor, rng: Rng, factor: float = 1.0) -> Tensor:
        return self.trained[0].new_zeros(())


def _stretch(trainer: Trainer, clock: stopwatch.Stopwatch) -> None:
    clock.start()
    losses, _ = advance(trainer, 0, clock)
    find_divergence(losses, len(losses))


def outside(row: Mapping[str, Any]) -> tuple[float, float]:
    """Wall-clock seconds of a run from intent to row, and those of them that are neither training nor evaluation.

    They are the child's start, data and network, counting the work, and writing files.
    """
    began, ended = (datetime.fromisoformat(row["provenance"][key]) for key in ("began", "ended"))
    total = (ended - began).total_seconds()
    return total, total - row["time"]["train_wall"] - row["time"]["eval_wall"]


def scaling(objectives: Sequence[str], *, rounds: int, device: torch.device) -> pd.DataFrame:
    """The same objectives along one axis at a time: batch, width and dimension. A column `axis` says which."""
    axes = {
        "batch": [Setting(batch=n) for n in (32, 128, 512, 2048)],
        "width": [Setting(network=f"mlp[width={n},depth=2]") for n in (32, 64, 128, 256)],
        "dim": [Setting(dim=n) for n in (2, 8, 32, 128)],
    }
    tables = []
    for axis, settings in axes.items():
        fitting = [
            o for o in objectives if (registry.find("objectives", o).info.max_dim or 128) >= 128 or axis != "dim"
        ]
        tables.append(measure_costs(settings, fitting, rounds=rounds, device=device).assign(axis=axis))
    return pd.concat(tables, ignore_index=True)
