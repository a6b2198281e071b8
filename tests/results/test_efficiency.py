"""Quality against cost: targets are reached at checkpoints, fronts are what nothing beats, failures count."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bench.results import efficiency, records
from bench.results.store import Planned, Store
from tests.helpers.toy_workers import toy_spec

CURVE = [
    {"step": 10, "flops": 1e9, "train_seconds": 1.0, "kl_ema": 2.0},
    {"step": 20, "flops": 2e9, "train_seconds": 3.0, "kl_ema": 0.3},
    {"step": 30, "flops": 3e9, "train_seconds": 4.0, "kl_ema": 0.5},
]


@pytest.mark.parametrize(
    ("target", "along", "cost"),
    [(2.5, "step", 10), (0.3, "flops", 2e9), (0.5, "train_seconds", 3.0), (0.1, "step", math.inf)],
)
def test_a_target_costs_what_was_spent_when_it_was_first_reached(target: float, along: str, cost: float) -> None:
    assert efficiency.cost_of(CURVE, target, along) == cost


def test_a_checkpoint_without_a_value_reaches_nothing() -> None:
    assert efficiency.cost_of([{"step": 1, "kl_ema": None}, {"step": 2}], 1.0, "step") == math.inf


def test_the_front_is_what_nothing_beats() -> None:
    points = [(1.0, 5.0), (2.0, 3.0), (2.0, 4.0), (3.0, 3.0), (4.0, 1.0), (1.0, 5.0)]
    assert efficiency.front(points) == [True, True, False, False, True, True]


def row(store: Store, objective: str, seed: int, kl: float, *, status: str = "ok") -> Planned:
    """A run whose curve is `CURVE`, with its cost and its quality."""
    run = Planned.of(toy_spec(seed, objective))
    attempt = store.begin(run)
    for point in CURVE:
        attempt.append(point)
    found = {"value": kl, "certified": True, "better": "lower", "unit": "nats"}
    work: dict[str, Any] = {"flops_train": 3e9 if objective == "dear" else 1e9}
    attempt.finish({"status": status, "metrics": {"kl": {"best": found}}, "work": work, "time": {"train_wall": 4.0}})
    return run


def test_the_frame_counts_failed_seeds_and_marks_the_front(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entries = {"cheap": 0.4, "dear": 0.4, "good": 0.1}
    runs = [row(store, name, seed, kl) for name, kl in entries.items() for seed in (0, 1, 2)]
    runs += [row(store, "frail", seed, 0.01, status="ok" if seed == 0 else "diverged") for seed in (0, 1, 2)]
    store.write_plan(runs)
    found = efficiency.efficiency_frame(store, records.read_records(store)).set_index("objective")
    assert found["pareto_gflops"].isna()["frail"], "what is not ranked is on no front"
    assert found["pareto_gflops"].drop("frail").to_dict() == {"cheap": False, "dear": False, "good": True}
    assert found["gflops_to_kl_0.3"]["good"] == 2.0
    assert found["train_seconds_to_kl_1"]["good"] == 3.0
    assert found["reached_kl_0.1"].tolist() == [0] * 4
    assert (found["reached_kl_0.3"]["frail"], math.isnan(found["gflops_to_kl_0.3"]["frail"])) == (1, True)
