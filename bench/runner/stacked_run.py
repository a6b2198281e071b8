"""Several seeds of one cell in one process: they train as one stack, and each gets the row that it would get alone.

Seeds of cells that differ in nothing but the learning rate may share a stack, too, and so may a seed with itself.

A small operation costs more to start than to compute, and a stack of seeds starts it once. Every seed draws from its
own streams and takes its own optimiser steps, so its numbers are those of a run alone but for the rounding of batched
matrix products. What a row says of training's cost is not the stack's: it is measured on a trainer of one seed that
takes some of the same steps in between. Seconds of evaluation are as they were, and less than alone: on a grid the
truth is computed once for all seeds.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.common.run_spec import RunSpec
from bench.core.rng import Rng
from bench.evaluation.evaluator import evaluate
from bench.evaluation.sampling import all_samples
from bench.runner.resumption import Keeper
from bench.runner.single_run import evaluate_run, measured_groups, prepare, run_single, times
from bench.runner.worker_process import failure, reset_peak, status_bytes
from bench.training import stopwatch
from bench.training.heartbeat import Heartbeat
from bench.training.loop import Curve, train
from bench.training.trainer import Model, Trainer

SOLO_STEPS = 100  # over the whole training
BUDGET_STEPS = 500  # where they decide when training ends
WARM_UP = 10
REHEARSED = 10  # steps, alone and stacked, that decide which is faster
METHOD = "steps of one seed alone, between those of its stack"


class NotStackableError(ValueError):
    """These seeds cannot or should not train together."""


class SingleSeedTimer:
    """What the steps of a stack would have cost one seed alone: at every stop a solo trainer takes a few of them.

    The stretch since the last stop is charged at the mean of those few. Its wall, CPU and CUDA seconds are otherwise
    those of `stopwatch.Stopwatch`; `watch.laps` are the steps that were timed.

    Args:
        solo: a trainer of one seed, which nothing is read of but its time.
        steps: how many steps it takes over the whole training, a part of them at each stop.
        checkpoints: how many stops there are.
    """

    def __init__(self, solo: Trainer, steps: int, checkpoints: int) -> None:
        self.solo, self.timed = solo, math.ceil(steps / checkpoints)
        self.watch = stopwatch.Stopwatch(solo.device)
        self.wall = self.cpu = 0.0
        self.cuda = None if self.watch.cuda is None else 0.0
        self._pending = self._taken = 0
        self._measure(WARM_UP)
        self._pace = self._computing(self._measure(self.timed)) / self.timed

    def start(self) -> None:
        pass

    def lap(self) -> None:
        self._pending += 1

    def stop(self) -> None:
        if not self._pending:
            return
        wall, cpu, cuda = measured = self._measure(self.timed)
        share = self._pending / self.timed
        self.wall += share * wall
        self.cpu += share * cpu
        if self.cuda is not None:
            self.cuda += share * cuda
        self._pending = 0
        self._pace = self._computing(measured) / self.timed

    @property
    def seconds(self) -> float:
        """Seconds of what computes for one seed; the steps since the last stop at the pace of those timed there."""
        return self._computing((self.wall, self.cpu, self.cuda or 0.0)) + self._pending * self._pace

    def _computing(self, seconds: tuple[float, float, float]) -> float:
        """Of the wall's, the processor's and a GPU's seconds those that a budget is of."""
        _, cpu, cuda = seconds
        return cpu if self.cuda is None else cuda

    def state_dict(self) -> dict[str, Any]:
        """The seconds that are charged so far, and the steps that were timed."""
        return {"wall": self.wall, "cpu": self.cpu, "cuda": self.cuda, "laps": self.watch.laps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from the seconds of an earlier process."""
        self.wall, self.cpu, self.cuda = state["wall"], state["cpu"], state["cuda"]
        self.watch.laps[:0] = state["laps"]

    def _measure(self, steps: int) -> tuple[float, float, float]:
        before = self.watch.wall, self.watch.cpu, self.watch.cuda or 0.0
        self.watch.start()
        for _ in range(steps):
            self.solo.step(self._taken)
            self.watch.lap()
            self._taken += 1
        self.watch.stop()
        wall, cpu, cuda = (
            a - b for a, b in zip((self.watch.wall, self.watch.cpu, self.watch.cuda or 0.0), before, strict=True)
        )
        return wall, cpu, cuda


def run_stack(specs: Sequence[RunSpec], folders: Sequence[Path], curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Trains seeds of one cell together and evaluates each; returns the groups of a row for each.

    Raises:
        NotStackableError: if the seeds are to be run alone.
    """
    of_one_seed = {"own", "continued"} & set(specs[0].evaluation.samplers)
    if any(Keeper([spec], folder.parent).exists() for spec, folder in zip(specs, folders, strict=True)):
        raise NotStackableError("one of them goes on from its own checkpoint")
    if specs[0].classical or of_one_seed:
        raise NotStackableError("a classical denoiser, or an objective's own sampler, is of one seed")
    solo, work, setup = prepare(specs[0])
    if solo.data.local_scale is None and solo.learner.objective.local_scale is not None:
        raise NotStackableError(f"{solo.data.name} declares no local_scale, so each seed has a step size of its own")
    alone = len(specs) * solo.step_seconds(REHEARSED)
    timed = specs[0].track == "equal_seconds"
    clock = SingleSeedTimer(solo, BUDGET_STEPS if timed else SOLO_STEPS, specs[0].evaluation.checkpoints)
    _evaluate_once(solo.models[0])
    # before the stack, whose memory is not that of a run
    memory = {"rss_peak": status_bytes("VmHWM"), **stopwatch.cuda_memory(solo.device)}
    rates = [spec.optimiser.lr for spec in specs]
    seeds = [spec.seed for spec in specs]
    stack = Trainer(specs[0], seeds, solo.device, rates if len(set(rates)) > 1 else None)
    together = stack.step_seconds(REHEARSED)
    keeper = Keeper(specs, folders[0].parent)
    if together > alone and not keeper.exists():
        said = f"{1e3 * together:.3g} ms stacked, {1e3 * alone:.3g} alone"
        raise NotStackableError(f"a step of {len(specs)} seeds takes {said}")
    # a stack ends when one seed alone would have used up its time
    stack.schedule = stack.timed(specs[0].limit, clock) if timed else solo.schedule
    # what they have computed on a grid is kept
    stack.data = replace(stack.data, **{name: getattr(solo.data, name) for name in ("log_density", "score", "mode_of")})
    evaluations = [stopwatch.Stopwatch(solo.device) for _ in specs]
    outcomes = train(stack, work, clock, evaluations, keeper.noting(curves), keeper, Heartbeat(folders))
    rows = []
    for model, outcome, evaluation, folder in zip(stack.models, outcomes, evaluations, folders, strict=True):
        try:
            groups = evaluate_run(model, outcome, evaluation, folder)
        except Exception as error:
            traceback.print_exc()
            groups = failure(error)
        about = times(clock, evaluation, setup, clock.watch.laps) | {"method": METHOD, "stack": len(specs)}
        about |= keeper.said()
        rows.append(measured_groups(solo, work, outcome.steps) | {"memory": memory} | groups | {"time": about})
    return rows


def _evaluate_once(model: Model) -> None:
    """All that is held in memory at once when a run is evaluated."""
    settings, rng = model.spec.evaluation, Rng(model.seed, "eval", model.data.train.device)
    energy = model.energy_with(model.weights)
    samples = all_samples(energy, model.objective, model.data, settings, rng)
    evaluate({"last": energy}, {"last": samples}, model.data, settings.metrics, rng)


def work(specs: list[dict[str, Any]], folders: list[Path], curves: list[Curve]) -> list[dict[str, Any]]:
    """`run_stack` on specs of plain values; else every seed is run alone, and answers for itself if that fails."""
    planned = [RunSpec.from_dict(spec) for spec in specs]
    try:
        return run_stack(planned, folders, curves)
    except NotStackableError as error:
        print(f"every seed is run alone: {error}")
    except Exception:
        traceback.print_exc()
    rows = []
    for spec, folder, curve in zip(planned, folders, curves, strict=True):
        (folder / "curve.jsonl").unlink(missing_ok=True)
        try:
            reset_peak()  # of the stack that was tried, or of the seed before
            groups = run_single(spec, folder, curve)
            rows.append(groups | {"memory": {"rss_peak": status_bytes("VmHWM")} | groups.get("memory", {})})
        except Exception as error:
            traceback.print_exc()
            rows.append(failure(error))
    return rows
