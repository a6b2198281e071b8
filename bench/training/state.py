"""All that a run is between two steps, as plain values and tensors, and what a module keeps outside of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.rng import Rng
from bench.training.loop import BestAt, Divergence, Outcome, Resumable
from bench.training.schedule import StepSchedule, TimeSchedule

_OF_TORCH = set(vars(nn.Module()))


class RestoredClock(Protocol):
    """A clock that goes on from where it was."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def state_of(
    trainer: Resumable,
    t: int,
    outcomes: Sequence[Outcome],
    clocks: Sequence[RestoredClock],
    curves: Sequence[list[Any]],
) -> dict[str, Any]:
    """Everything after t steps: weights, averages, optimiser, chains and critics, best so far, streams, clocks, curves.

    Args:
        t: a multiple of `CHECK_EVERY`, where no drawn batch is left over.
    """
    schedule = trainer.schedule
    return {
        "t": t,
        "energy": trainer.energy.state_dict(),
        "objective": trainer.learner.objective.state_dict(),
        "optimiser": trainer.learner.optimiser.state_dict(),
        "average": trainer.average,
        "streams": [trainer.data_rng.state_dict(), trainer.rng.state_dict()],
        "global": _global_streams(),
        "schedule": {"steps": schedule.steps}
        if isinstance(schedule, StepSchedule)
        else {"progress": schedule.progress, "reached": schedule.reached}
        if isinstance(schedule, TimeSchedule)
        else {},
        "outcomes": [_plain(outcome) for outcome in outcomes],
        "clocks": [clock.state_dict() for clock in clocks],
        "curves": [list(lines) for lines in curves],
    }


def restore(
    state: dict[str, Any], trainer: Resumable, outcomes: Sequence[Outcome], clocks: Sequence[RestoredClock]
) -> tuple[int, list[list[dict[str, Any]]]]:
    """Puts a fresh trainer where `state_of` was taken; returns the step and the lines of each curve.

    Raises:
        RuntimeError, KeyError, ValueError: if the state does not fit.
    """
    trainer.energy.load_state_dict(state["energy"])
    trainer.learner.objective.load_state_dict(state["objective"])
    trainer.learner.optimiser.load_state_dict(state["optimiser"])
    for mine, saved in zip(trainer.average, state["average"], strict=True):
        mine.copy_(saved)  # in place: the models of a stack are views
    for rng, saved in zip((trainer.data_rng, trainer.rng), state["streams"], strict=True):
        rng.load_state_dict({seed: generator.cpu() for seed, generator in saved.items()})
    if "steps" in state["schedule"]:
        trainer.schedule = trainer.paced(state["schedule"]["steps"])
    elif isinstance(trainer.schedule, TimeSchedule):
        trainer.schedule.progress, trainer.schedule.reached = (state["schedule"][k] for k in ("progress", "reached"))
    for outcome, saved in zip(outcomes, state["outcomes"], strict=True):
        _fill(outcome, saved)
    for clock, saved in zip(clocks, state["clocks"], strict=True):
        clock.load_state_dict(saved)
    _set_global_streams(state["global"])
    return state["t"], state["curves"]


def forgotten(live: nn.Module, twin: nn.Module, shared: Rng | None = None) -> list[str]:
    """The attributes in which a module differs from a fresh one that has loaded its state: they would be lost.

    Args:
        shared: the run's own stream, which is restored whoever holds it.
    """
    twins = dict(twin.named_modules())
    found = []
    for prefix, module in live.named_modules():
        other = twins.get(prefix)
        for name, value in _attributes(module):
            theirs = dict(_attributes(other)) if other is not None else {}
            if name not in theirs or not _same(value, theirs[name], shared, 0):
                found.append(f"{prefix}.{name}".removeprefix("."))
    return found


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a module holds beside its parameters, its persistent buffers and its children."""
    yield from ((name, value) for name, value in vars(module).items() if name not in _OF_TORCH)
    yield from ((name, module._buffers[name]) for name in sorted(module._non_persistent_buffers_set))


def _same(a: Any, b: Any, shared: Rng | None, depth: int) -> bool:
    if a is b or (shared is not None and a is shared) or depth > 20:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, nn.Module):
        return not forgotten(a, b, shared)
    if isinstance(a, torch.Generator):
        return bool(torch.equal(a.get_state(), b.get_state()))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k], shared, depth + 1) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y, shared, depth + 1) for x, y in zip(a, b, strict=True))
    if callable(a) or isinstance(a, type):
        return getattr(a, "__qualname__", None) == getattr(b, "__qualname__", None)
    if hasattr(a, "__dict__"):
        return _same(vars(a), vars(b), shared, depth + 1)
    return bool(a == b)


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "steps": outcome.steps,
        "divergence": None if outcome.divergence is None else list(astuple(outcome.divergence)),
        "best": outcome.best,
        "best_at": None if outcome.best_at is None else list(astuple(outcome.best_at)),
        "lowest": list(outcome.lowest),
    }


def _fill(outcome: Outcome, saved: dict[str, Any]) -> None:
    outcome.steps, outcome.best = saved["steps"], saved["best"]
    outcome.divergence = None if saved["divergence"] is None else Divergence(*saved["divergence"])
    outcome.best_at = None if saved["best_at"] is None else BestAt(*saved["best_at"])
    outcome.lowest = (saved["lowest"][0], saved["lowest"][1])


def _global_streams() -> dict[str, Any]:
    """The process's own streams, which no plug-in should draw from, and a network of somebody's own may."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "python": random.getstate(),
    }


def _set_global_streams(saved: dict[str, Any]) -> None:
    torch.set_rng_state(saved["torch"].cpu())
    if saved["cuda"] and len(saved["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in saved["cuda"]])
    name, keys, *rest = saved["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(saved["python"])
