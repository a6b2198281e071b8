"""What a plan will cost before it is run: FLOPs counted exactly, seconds from a few rehearsed steps."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench import load, meter
from bench.evaluate import all_samples, evaluate
from bench.rng import Rng
from bench.spec import RunSpec
from bench.train import Trainer

WARM_UP, TIMED = 2, 6


@dataclass(frozen=True)
class Price:
    """One run's predicted FLOPs of training and seconds on one core, evaluation included."""

    flops: float
    seconds: float


def price(specs: Iterable[RunSpec]) -> dict[str, Price]:
    """{cell_id: price of one seed}; skipped cells cost nothing.

    A step is timed once for each objective, network and event shape, an evaluation once for each network and data set.
    """
    torch.set_num_threads(1)
    steps: dict[str, tuple[float, float, float]] = {}
    evaluations: dict[str, float] = {}
    prices: dict[str, Price] = {}
    for spec in specs:
        if spec.cell_id in prices:
            continue
        if spec.skip:
            prices[spec.cell_id] = Price(0.0, 0.0)
            continue
        trainer = Trainer(replace(spec, seed=0), 0, load.device(spec.device))
        shape = list(trainer.data.train.shape[1:])
        step_key = _key(spec.objective["sha"], spec.objective["params"], spec.network, shape, spec.budget["batch"])
        if step_key not in steps:
            steps[step_key] = _time_step(trainer)
        flops, seconds, setup = steps[step_key]
        count = int(spec.budget["steps"]) if spec.track == "equal_steps" else max(1, int(spec.budget["flops"] / flops))
        evaluation_key = _key(spec.dataset["sha"], spec.dataset["params"], spec.network, spec.evaluation)
        if evaluation_key not in evaluations:
            evaluations[evaluation_key] = _time_evaluation(trainer)
        total = setup + count * seconds + evaluations[evaluation_key]
        prices[spec.cell_id] = Price(flops * count, total)
    return prices


def _key(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True)


def _time_step(trainer: Trainer) -> tuple[float, float, float]:
    began = time.perf_counter()
    work = trainer.count()
    setup = time.perf_counter() - began
    for t in range(WARM_UP):
        trainer.step(t)
    clock = meter.Stopwatch(trainer.device)
    clock.start()
    for t in range(TIMED):
        trainer.step(t)
    clock.stop()
    return work.flops, (clock.cpu if clock.cuda is None else clock.cuda) / TIMED, setup


def _time_evaluation(trainer: Trainer) -> float:
    began = time.process_time()
    spec, model = trainer.spec, trainer.models[0]
    energy = model.energy_with(model.weights)
    samples = all_samples(energy, trainer.learner.objective, trainer.data, spec.evaluation, Rng(0, "eval"))
    evaluate({"last": energy}, {"last": samples}, trainer.data, spec.evaluation["metrics"], Rng(0, "eval"))
    # each variant at the end; where there is a grid a checkpoint looks at two, at about a tenth of the cost each
    passes = float(len(spec.evaluation["variants"]))
    if trainer.data.grid is not None:
        passes += 0.2 * spec.evaluation["checkpoints"]
    return passes * (time.process_time() - began)
