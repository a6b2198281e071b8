"""One planned run from its spec to the groups of its row; what a supervised child process executes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.common.run_spec import RunSpec
from bench.core.derivatives import Energy
from bench.core.rng import Rng
from bench.evaluation import artifacts
from bench.evaluation.evaluator import evaluate
from bench.evaluation.sampling import all_samples
from bench.evaluation.saved_energy import save_energies
from bench.evaluation.smoothing_floor import smoothing_floor
from bench.plugins import builders
from bench.runner import classical_run
from bench.runner.resumption import Keeper
from bench.training import stopwatch, work_counter
from bench.training.heartbeat import Heartbeat
from bench.training.loop import Curve, Outcome, train
from bench.training.trainer import Model, Trainer


def run_single(spec: RunSpec, folder: Path, curve: Curve) -> dict[str, Any]:
    """Trains and evaluates; returns the groups of a row: status, work, time, memory, model, metrics.

    Work is counted on rehearsed steps before training and multiplied by the steps taken; evaluation and set-up are
    on clocks of their own.
    """
    if spec.classical:
        return classical_run.run(spec, folder, curve)
    trainer, work, setup = prepare(spec)
    clock, evaluation = stopwatch.Stopwatch(trainer.device), stopwatch.Stopwatch(trainer.device)
    if spec.track == "equal_seconds":
        trainer.schedule = trainer.timed(spec.limit, clock)
    keeper = Keeper([spec], folder.parent)
    curves, heartbeat = keeper.noting([curve]), Heartbeat([folder])
    (outcome,) = train(trainer, work, clock, [evaluation], curves, keeper, heartbeat)
    groups = evaluate_run(trainer.models[0], outcome, evaluation, folder)
    about = times(clock, evaluation, setup, clock.laps) | keeper.said()
    return groups | measured_groups(trainer, work, outcome.steps) | {"time": about}


def prepare(spec: RunSpec) -> tuple[Trainer, work_counter.Work, stopwatch.Stopwatch]:
    """A trainer of the spec's seed at the pace of its track, the work of one step, and the seconds that it took."""
    device = builders.pick_device(spec.device)
    setup = stopwatch.Stopwatch(device)
    setup.start()
    trainer = Trainer(spec, spec.seed, device)
    work = trainer.count()
    if spec.track == "equal_flops":
        trainer.schedule = trainer.paced(max(1, int(spec.limit / work.flops)))
    if spec.track == "equal_time":
        trainer.schedule = trainer.paced(max(1, round(spec.limit / trainer.step_time_in_flops())))
    setup.stop()
    return trainer, work, setup


def evaluate_run(model: Model, outcome: Outcome, evaluation: stopwatch.Stopwatch, folder: Path) -> dict[str, Any]:
    """Status, last step and, unless the seed diverged, every metric of its last, averaged and best weights."""
    if outcome.divergence is not None:
        reason = str(outcome.divergence)
        return {"status": "diverged", "phase": "train", "reason": reason, "last_step": outcome.steps}
    evaluation.start()
    metrics = _judge(model, outcome, folder)
    evaluation.stop()
    return {
        "status": "ok",
        "phase": "done",
        "last_step": outcome.steps,
        "best_at": asdict(outcome.best_at) if outcome.best_at else {},
        "metrics": metrics,
    }


def measured_groups(trainer: Trainer, work: work_counter.Work, steps: int) -> dict[str, Any]:
    """What does not depend on how the training went, of a trainer of one seed: work of `steps` steps, memory, sizes."""
    device = trainer.device
    return {
        "work": _work(work, steps, trainer.spec.budget.batch),
        "memory": stopwatch.cuda_memory(device),
        "model": {
            "n_params": sum(w.numel() for w in trainer.weights),
            "n_params_objective": sum(p.numel() for p in trainer.learner.objective.parameters()),
            "entropy": trainer.data.entropy,
            "local_scale": trainer.learner.objective.local_scale,
            "kl_floor": _floor(trainer),
        },
        "device": stopwatch.device_name(device),
    }


def _floor(trainer: Trainer) -> float | None:
    """The KL divergence, in nats, of the law that an objective of noised data would learn perfectly; else None."""
    levels = trainer.models[0].levels
    return None if levels is None else smoothing_floor(trainer.data, levels[0])


def times(
    clock: stopwatch.Clock, evaluation: stopwatch.Stopwatch, setup: stopwatch.Stopwatch, laps: list[float]
) -> dict[str, Any]:
    """Seconds of training, evaluation and set-up; `laps` are those of single steps."""
    return {
        "train_wall": clock.wall,
        "train_cpu": clock.cpu,
        "train_cuda": clock.cuda,
        "eval_wall": evaluation.wall,
        "eval_cpu": evaluation.cpu,
        "setup_wall": setup.wall,
        "setup_cpu": setup.cpu,
        "step_ms": stopwatch.step_milliseconds(laps),
    }


def _judge(model: Model, outcome: Outcome, folder: Path) -> dict[str, Any]:
    """Every metric of the last, the averaged and the best weights; the pictures show the best, else the averaged."""
    settings = model.spec.evaluation
    data = model.data.judged_on(settings.split)
    weights: dict[str, list[Tensor] | None] = {"last": model.weights, "ema": model.average, "best": outcome.best}
    energies: dict[str, Energy] = {
        v: model.energy_with(w) for v, w in weights.items() if w is not None and v in settings.variants
    }
    rng = Rng(model.seed, "eval", data.train.device)
    if model.spec.save_weights:
        save_energies(folder, model.spec, energies, data)
    samples = {v: all_samples(e, model.objective, data, settings, rng) for v, e in energies.items()}
    metrics = evaluate(energies, samples, data, settings.metrics, rng)
    if "last" not in energies and model.log_z is not None:
        # an objective's own estimate of log Z is for the last weights alone, whichever a suite looks at
        own = [name for name in settings.metrics if "log_z" in builders.metric(name).info.needs]
        last = evaluate({"last": model.energy_with(model.weights)}, {"last": {}}, data, own, rng)
        metrics = {name: found | last.get(name, {}) for name, found in metrics.items()}
    shown = next(v for v in ("best", "ema", "last") if v in energies)
    artifacts.save(folder, energies[shown], samples[shown], data, rng)
    return metrics


def _work(work: work_counter.Work, steps: int, batch: int) -> dict[str, Any]:
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
    return run_single(RunSpec.from_dict(spec), folder, curve)
