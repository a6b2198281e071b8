"""A store of many finished runs with rows as large as real ones, for tests of what reading it costs."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any
from unittest import mock

from bench.common.run_spec import ObjectiveSpec, RunSpec
from bench.results.store import Planned, Store
from tests.helpers.toy_workers import toy_spec

METRICS = ("kl", "nll", "fisher_divergence", "mode_weight_error", "sliced_wasserstein", "maximum_mean_discrepancy")
CHECKPOINTS = 10


def large_specs(objectives: int, datasets: int, seeds: int) -> list[RunSpec]:
    return [
        toy_spec(seed, ObjectiveSpec(name=f"objective{k}", label=f"objective{k}", family="other"), f"set{d}", **_MORE)
        for seed in range(seeds)
        for d in range(datasets)
        for k in range(objectives)
    ]


_MORE: dict[str, Any] = {"reference": "objective0", "primary": "kl"}


def fill_large_store(root: Path, objectives: int = 50, datasets: int = 8, seeds: int = 25) -> list[RunSpec]:
    """Writes a store of so many finished runs; returns its plan."""
    store = Store(root)
    specs = large_specs(objectives, datasets, seeds)
    draw = random.Random(1)
    environment = {"python": "3.11.7", "torch": "2.13.0", "processor": "A processor"}
    with mock.patch.object(os, "fsync", return_value=None):  # a disk is not what is measured
        environment_id = store.keep_environment(environment)
        for spec in specs:
            attempt = store.begin(Planned.of(spec), {"argv": ["bench", "run"], "git_sha": "0" * 40})
            lines = [_line(step, draw) for step in range(1, CHECKPOINTS + 1)]
            (attempt.folder / "curve.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in lines), encoding="utf-8")
            (attempt.folder / "log.txt").write_text("", encoding="utf-8")
            attempt.finish(_outcome(draw) | {"env": {"env_id": environment_id, **environment}})
        store.write_plan(map(Planned.of, specs))
    return specs


def _line(step: int, draw: random.Random) -> dict[str, Any]:
    about = {"step": 100 * step, "train_seconds": 0.5 * step, "forwards": 300 * step, "flops": 1e7 * step}
    values = {f"{name}_{w}": draw.random() for name in ("valid_nll", "kl", "mass", "error") for w in ("last", "ema")}
    return {**about, "loss": draw.gauss(0, 1), **values, "certified_last": True, "certified_ema": True}


def _outcome(draw: random.Random) -> dict[str, Any]:
    def value() -> dict[str, Any]:
        about = {"unit": "nats", "better": "lower", "version": 1, "certified": True, "reason": "", "scale": "ratio"}
        detail = {"log_z": draw.random(), "edge": 1e-9, "numerical_error": 1e-7, "points": 40_000}
        return {"value": draw.lognormvariate(-3, 0.5), "stderr": 0.01, "n": 2000, "detail": detail, **about}

    seconds = {"train_wall": 1 + draw.random(), "train_cpu": 1.0, "eval_wall": 2.0, "eval_cpu": 2.0, "setup_wall": 0.1}
    return {
        "status": "ok",
        "phase": "done",
        "last_step": 1000,
        "metrics": {name: {weights: value() for weights in ("last", "ema", "best")} for name in METRICS},
        "work": {"steps": 1000, "examples": 128_000, "forwards": 3000, "input_gradients": 1000, "flops_train": 1e9},
        "time": {**seconds, "step_ms": {"median": 1.0, "iqr": 0.1, "n": 990, "warm_up": 10}},
        "memory": {"rss_base": 4 << 28, "rss_peak": 5 << 28, "method": "VmHWM since clear_refs, after imports"},
        "model": {"n_params": 8577, "entropy": 1.1231, "local_scale": 0.1, "kl_floor": None},
        "device": "cpu",
    }
