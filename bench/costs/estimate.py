"""What a plan will cost before it is run: FLOPs counted exactly, seconds from a few rehearsed steps."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.common.errors import UsageError
from bench.common.quiet_process import quieten
from bench.common.run_spec import RunSpec, Weights
from bench.core.rng import Rng
from bench.plugins import builders
from bench.results.store import Store
from bench.runner.executor import execute
from bench.runner.single_run import evaluate_run
from bench.runner.worker_process import reset_peak, status_bytes
from bench.training import stopwatch
from bench.training.loop import Outcome
from bench.training.trainer import Trainer

RESET = "VmHWM since clear_refs, after imports"  # what `reset_peak` says where it has
WARM_UP, ROUNDS, TIMED = 2, 5, 2
FEW = 25, 75  # samples of an evaluation that are timed


@dataclass(frozen=True)
class CostEstimate:
    """One run's predicted FLOPs of training, its processor seconds, and those of set-up and evaluation.

    The FLOPs are exact, but at equal seconds, where the steps that there will be time for are an estimate.

    Attributes:
        memory: bytes of the rehearsal at its peak, with what every run loads; None where the kernel does not say.
        tensors: bytes of a step and of the data: a bound from below of what a GPU must have free; 0 if not counted.
    """

    flops: float
    training: float
    around: float = 0.0
    memory: float | None = None
    tensors: float = 0.0

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.training + self.around


@dataclass(frozen=True)
class Step:
    """A training step's counted FLOPs, its seconds and the bytes of its tensors, and the seconds before the first.

    `time_in_flops` are those that network passes make in the time of a step, where the track is of equal time.
    """

    flops: float
    seconds: float
    setup: float
    tensors: float = 0.0
    time_in_flops: float = 0.0

    def count(self, spec: RunSpec) -> float:
        """How many of them a run takes."""
        if spec.track == "equal_seconds":
            return spec.limit / self.seconds
        if spec.track == "equal_time":
            return spec.limit / self.time_in_flops
        return spec.budget.steps if spec.track == "equal_steps" else max(1, spec.limit // self.flops)


def estimate_costs(specs: Iterable[RunSpec]) -> dict[str, CostEstimate]:
    """{cell_id: price of one seed}; skipped cells cost nothing.

    A step is timed once for each objective, network and event shape, an evaluation once for each network and data set.
    """
    quieten()
    shapes: dict[str, list[int]] = {}
    steps: dict[str, Step] = {}
    evaluations: dict[str, float] = {}
    prices: dict[str, CostEstimate] = {}
    grown: dict[str, float] = {}  # bytes by which a rehearsal grew this process
    loaded = status_bytes("VmRSS")
    for spec in specs:
        if spec.cell_id in prices:
            continue
        if spec.skip:
            prices[spec.cell_id] = CostEstimate(0.0, 0.0)
            continue
        if spec.classical:
            prices[spec.cell_id] = _price_of_denoiser(spec)
            continue
        data_key = _key(spec.dataset.sha, spec.dataset.ref, spec.dataset.params, spec.dataset.content)
        parts = spec.optimiser.accumulate
        timed = spec.track == "equal_time"
        about = spec.objective.sha, spec.objective.params, spec.network, spec.budget.batch, parts, spec.precision, timed
        # a noise level beside x changes what an evaluation costs by a few additions
        unconditional = replace(spec.network, conditional=False)
        # but an objective's own sampler can be all of it
        own = about[:2] if {"own", "continued"} & set(spec.evaluation.samplers) else ()
        evaluation_key = _key(data_key, unconditional, spec.evaluation, own)
        known = data_key in shapes and _key(*about, shapes[data_key]) in steps and evaluation_key in evaluations
        if not known:
            began = time.process_time()
            before = _forget_peak()
            trainer = Trainer(replace(spec, seed=0), 0, builders.pick_device(spec.device))
            work = trainer.count()
            setup = time.process_time() - began
            shapes[data_key] = list(trainer.data.train.shape[1:])
            if _key(*about, shapes[data_key]) not in steps:
                relative = trainer.step_time_in_flops() if timed else 0.0
                found = Step(work.flops, _time_step(trainer), setup, _tensors(trainer), relative)
                steps[_key(*about, shapes[data_key])] = found
            _note_growth(grown, _key(*about, data_key), before)
            if evaluation_key not in evaluations:
                evaluations[evaluation_key] = _time_evaluation(trainer)
                _note_growth(grown, evaluation_key, before)
        step = steps[_key(*about, shapes[data_key])]
        count = step.count(spec)
        around = step.setup + evaluations[evaluation_key]
        growth = [grown[key] for key in (_key(*about, data_key), evaluation_key) if key in grown]
        memory = loaded + max(growth) if loaded is not None and growth else None
        prices[spec.cell_id] = CostEstimate(step.flops * count, count * step.seconds, around, memory, step.tensors)
    return prices


def _forget_peak() -> int | None:
    """The bytes that this process holds, from where its peak is counted anew; None where that cannot be."""
    return status_bytes("VmRSS") if reset_peak() == RESET else None


def _note_growth(grown: dict[str, float], key: str, before: int | None) -> None:
    peak = status_bytes("VmHWM")
    if before is not None and peak is not None:
        grown[key] = max(grown.get(key, 0.0), float(peak - before))


def _price_of_denoiser(spec: RunSpec) -> CostEstimate:
    """In a child of its own, as most of a run of a few seconds is what it imports."""
    with tempfile.TemporaryDirectory() as folder:
        (row,) = execute([spec], Store(Path(folder)), worker="bench.runner.classical_run:priced")
    if row["status"] != "ok":
        raise UsageError(f"{spec.objective.label} has no cost estimate: {row['reason']}; run bench check on it")
    flops, training, around = row["price"]
    return CostEstimate(flops, training, around, (row.get("memory") or {}).get("rss_peak"))


def _tensors(trainer: Trainer) -> float:
    data = (trainer.data.train, trainer.data.valid, trainer.data.test)
    return trainer.step_bytes() + sum(split.numel() * split.element_size() for split in data)


def _key(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, default=asdict)


def _time_step(trainer: Trainer) -> float:
    for t in range(WARM_UP):
        trainer.step(t)
    rounds = []
    for _ in range(ROUNDS):
        clock = stopwatch.Stopwatch(trainer.device)
        clock.start()
        for t in range(TIMED):
            trainer.step(t)
        clock.stop()
        rounds.append(clock.seconds / TIMED)
    return float(torch.tensor(rounds).median())


def _time_evaluation(trainer: Trainer) -> float:
    """Every kind of weights at the end, two at each checkpoint; what the truth is on a grid is computed once.

    Where samples are chains, a few are timed, and the seconds are a straight line in their number.
    """
    model, evaluation = trainer.models[0], stopwatch.Stopwatch(trainer.device)
    samples, variants = trainer.spec.evaluation.samples, trainer.spec.evaluation.variants
    few, more = FEW if trainer.data.grid is None and samples > max(FEW) else (samples, samples)

    def judge(n: int, *kinds: Weights) -> float:
        asked = replace(model.spec.evaluation, samples=n, variants=kinds or variants)
        judged = replace(model, spec=replace(model.spec, evaluation=asked))
        with tempfile.TemporaryDirectory() as folder:
            return _seconds(lambda: evaluate_run(judged, Outcome(), evaluation, Path(folder)))

    around = judge(few)
    if more > few:
        around += max(judge(more) - judge(few), 0.0) / (more - few) * (samples - few)
    elif "best" in variants and trainer.data.grid is not None:
        around += judge(few, "last")  # without a checkpoint there are no best weights, which cost as much as any
    look = _seconds(lambda: Outcome().record_checkpoint(model, Rng(0, "eval", trainer.device)))
    return around + float(trainer.spec.evaluation.checkpoints) * look


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began
