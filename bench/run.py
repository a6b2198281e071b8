"""One planned run from its spec to the groups of its row; what a supervised child process executes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from bench import artefacts, classical, load, meter
from bench.evaluate import all_samples, evaluate
from bench.rng import Rng
from bench.spec import RunSpec
from bench.train import Curve, DivergedError, Outcome, Trainer, train


def run(spec: RunSpec, folder: Path, curve: Curve) -> dict[str, Any]:
    """Trains and evaluates; returns the groups of a row: status, work, time, memory, model, metrics.

    Work is counted on rehearsed steps before training and multiplied by the steps taken; evaluation and set-up are
    on clocks of their own.
    """
    if spec.objective.get("kind") == "denoiser":
        return classical.run(spec, folder, curve)
    device = load.device(spec.device)
    began = time.perf_counter()
    trainer = Trainer(spec, spec.seed, device)
    work = trainer.count()
    if spec.track == "equal_flops":
        trainer.steps = max(1, int(spec.budget["flops"] / work.flops))
    clock, evaluation = meter.Stopwatch(device), meter.Stopwatch(device)
    setup = time.perf_counter() - began
    row: dict[str, Any] = {"status": "ok", "phase": "train", "last_step": trainer.steps}
    seconds: list[float] = []
    try:
        outcome = train(trainer, work, clock, evaluation, curve)
    except DivergedError as error:
        clock.stop()
        row |= {"status": "diverged", "reason": str(error), "last_step": error.step}
    else:
        seconds = outcome.seconds
        evaluation.start()
        row |= {"phase": "done", "best_at": outcome.best_at, "metrics": _judge(trainer, outcome, folder)}
        evaluation.stop()
    return row | {
        "work": _work(work, row["last_step"], spec.budget["batch"]),
        "time": {
            "train_wall": clock.wall,
            "train_cpu": clock.cpu,
            "train_cuda": clock.cuda,
            "eval_wall": evaluation.wall,
            "setup_wall": setup,
            "step_ms": meter.step_milliseconds(seconds),
        },
        "memory": meter.cuda_memory(device),
        "model": {
            "n_params": sum(w.numel() for w in trainer.weights),
            "n_params_objective": sum(p.numel() for p in trainer.learner.objective.parameters()),
            "entropy": trainer.data.entropy,
            "local_scale": trainer.learner.objective.local_scale,
        },
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    }


def _judge(trainer: Trainer, outcome: Outcome, folder: Path) -> dict[str, Any]:
    """Every metric of the last, the averaged and the best weights; the pictures show the best, else the averaged."""
    settings = trainer.spec.evaluation
    weights = {"last": trainer.weights, "ema": trainer.average, "best": outcome.best}
    energies = {v: trainer.energy_with(w) for v, w in weights.items() if w is not None and v in settings["variants"]}
    rng = Rng(trainer.seed, "eval", trainer.device)
    objective = trainer.learner.objective
    samples = {v: all_samples(e, objective, trainer.data, settings, rng) for v, e in energies.items()}
    metrics = evaluate(energies, samples, trainer.data, settings["metrics"], rng)
    shown = next(v for v in ("best", "ema", "last") if v in energies)
    artefacts.save(folder, energies[shown], samples[shown], trainer.data, rng)
    return metrics


def _work(work: meter.Work, steps: int, batch: int) -> dict[str, Any]:
    per_step = work.scaled(1)
    totals = work.scaled(steps)
    return {
        "steps": steps,
        "examples": steps * batch,
        **{k: totals[k] for k in ("forwards", "input_gradients", "double_backwards", "sampler_steps")},
        "flops_train": totals["flops"],
        **{f"{k}_per_step": v for k, v in per_step.items()},
        "count_method": "torch dispatch mode and input taps over two rehearsed steps",
    }


def work(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    """`run` on a spec of plain values; `folder` is the attempt's own."""
    return run(RunSpec.from_dict(spec), folder, curve)
