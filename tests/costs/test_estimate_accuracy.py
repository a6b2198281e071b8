"""A plan held against the runs made of it: which seconds count, and that other FLOPs are never passed over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.cli import main
from bench.cli.commands import plan
from bench.common.errors import UsageError
from bench.costs import estimate_accuracy
from bench.costs.estimate import CostEstimate
from bench.results.store import Planned
from bench.runner.worker_process import processor
from tests.helpers.store_builder import Shelf, estimate

FLOPS = 2e9
TINY = """
name = "tiny"
objectives = ["denoising_score_matching", "energy_discrepancy"]
datasets = ["two_moons"]
seeds = "0-1"
metrics = ["nll"]
budget = {steps = 12, batch = 16}
network = {name = "mlp", width = 8}
evaluation = {checkpoints = 2, samples = 64}
data = {n_train = 256, n_valid = 256, n_test = 256}
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "store")


def ran(
    shelf: Shelf, objective: str, seed: int, *, flops: float = FLOPS, track: str = "equal_steps", **time: Any
) -> None:
    spec = shelf.plan(objective, seed, track=track)
    metrics = {"kl": {"last": estimate(0.1)}}
    row = {"status": "ok", "metrics": metrics, "work": {"flops_train": flops}, "time": time, "env": shelf.environment()}
    shelf.store.begin(Planned.of(spec)).finish(row)
    shelf.store.write_plan([Planned.of(s) for s in shelf.specs])


def price(specs: list[Any]) -> Mapping[str, CostEstimate]:
    return {spec.cell_id: CostEstimate(FLOPS, 10.0, 5.0) for spec in specs}


def compared(shelf: Shelf) -> pd.DataFrame:
    found = estimate_accuracy.compare_estimates(shelf.specs, shelf.store, price)  # type: ignore[arg-type]
    return found.set_index("objective", drop=False)


def test_seconds_are_the_median_of_whole_runs_on_the_processors_clock(shelf: Shelf) -> None:
    for seed, train in enumerate((10.0, 14.0, 99.0)):
        ran(shelf, "alone", seed, train_cpu=train, train_wall=500.0, eval_cpu=3.0, eval_wall=400.0, setup_cpu=1.0)
    ran(shelf, "old", 0, train_cpu=10.0, train_cuda=None, eval_cpu=3.0, setup_wall=2.0)
    ran(shelf, "cuda", 0, train_cpu=1.0, train_cuda=7.0, eval_cpu=3.0, setup_cpu=2.0)
    found = compared(shelf)
    assert list(found["seconds"]) == [18.0, 15.0, 12.0]
    assert list(found["seconds_predicted"]) == [15.0] * 3
    assert list(found["ratio"]) == [1.2, 1.0, 0.8]
    assert list(found["runs"]) == [3, 1, 1]


def test_of_a_stack_only_training_was_measured_alone(shelf: Shelf) -> None:
    for seed in (0, 1):
        ran(shelf, "stacked", seed, train_cpu=11.0, eval_cpu=0.1, setup_wall=2.0, stack=2)
    line = compared(shelf).loc["stacked"]
    assert (line["seconds_of"], line["seconds_predicted"], line["seconds"]) == ("training", 10.0, 11.0)


def test_other_flops_at_one_seed_are_called_so_and_fail(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.costs.estimate.estimate_costs", price)
    ran(shelf, "right", 0, train_cpu=10.0)
    assert plan.print_accuracy(shelf.specs, shelf.store.root) == 0
    assert "FLOPs are predicted exactly in 1 of 1 cells" in capsys.readouterr().out
    ran(shelf, "wrong", 0, train_cpu=10.0)
    ran(shelf, "wrong", 1, train_cpu=10.0, flops=FLOPS + 1)
    ran(shelf, "timed", 0, train_cpu=10.0, flops=7.0, track="equal_seconds")
    assert list(compared(shelf)["flops"]) == [
        estimate_accuracy.EQUAL,
        estimate_accuracy.UNEQUAL,
        estimate_accuracy.OPEN,
    ]
    assert plan.print_accuracy(shelf.specs, shelf.store.root) == 1
    assert "FLOPs are predicted exactly in 1 of 2 cells" in capsys.readouterr().out


def test_within_a_factor_of_one_and_a_half_is_so_on_both_sides(shelf: Shelf) -> None:
    for name, train in {"a": 9.9, "b": 10.0, "c": 22.5, "d": 22.6}.items():
        ran(shelf, name, 0, train_cpu=train)
    assert estimate_accuracy.within(compared(shelf)) == 2


def test_runs_that_failed_and_runs_that_were_not_made_do_not_count(shelf: Shelf) -> None:
    shelf.ran("failed", 0, None, status="diverged", reason="the loss is not finite")
    shelf.plan("never", 0)
    with pytest.raises(UsageError, match="No completed run of this plan"):
        compared(shelf)
    ran(shelf, "made", 0, train_cpu=10.0)
    assert list(compared(shelf).index) == ["made"]


def test_another_processor_is_named(shelf: Shelf) -> None:
    ran(shelf, "mine", 0, train_cpu=10.0)
    assert estimate_accuracy.elsewhere(shelf.store, "A processor") == []
    assert estimate_accuracy.elsewhere(shelf.store, processor()) == ["A processor"]


def test_a_plan_predicts_the_work_of_its_own_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite, out = tmp_path / "tiny.toml", tmp_path / "out"
    suite.write_text(TINY, encoding="utf-8")
    assert main.main(["run", "--suite", str(suite), "--device", "cpu", "--out", str(out), "--jobs", "1"]) == 0
    capsys.readouterr()
    assert main.main(["plan", "--suite", str(suite), "--device", "cpu", "--compare-with", str(out)]) == 0
    assert "FLOPs are predicted exactly in 2 of 2 cells" in capsys.readouterr().out
    suite.write_text(TINY.replace("steps = 12", "steps = 13"), encoding="utf-8")
    assert main.main(["plan", "--suite", str(suite), "--device", "cpu", "--compare-with", str(out)]) == 1
    told = capsys.readouterr().out
    assert "FLOPs are predicted exactly in 0 of 2 cells" in told
    assert "budget" in told, "what is not as it was is named"
    assert main.main(["plan", "--suite", str(suite), "--compare-with", str(tmp_path / "none")]) == 2
