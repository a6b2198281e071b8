"""Two versions timed in one job: a rule with known error rates, and workers that time a real tree."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from bench.common.errors import UsageError
from bench.common.paths import SUITES
from bench.regression import timing as timing_module
from bench.regression.suite import Tree
from bench.regression.timing import (
    Subject,
    Timing,
    UntimedError,
    Worker,
    checked_out,
    compare_times,
    is_slower,
    minimum_detectable_ratio,
    ratios,
    time_checks,
)

ROOT = Path(__file__).resolve().parents[2]


def clock(rng: np.random.Generator, factor: float, drift: itertools.count[int]) -> float:
    """A noisy duration on a machine that slows down all the time."""
    return factor * math.exp(0.02 * rng.normal()) * (1 + 0.002 * next(drift))


@pytest.mark.parametrize(("factor", "rate"), [(1.0, 0.0), (1.1, 1.0)])
def test_equal_code_is_not_dearer_and_a_tenth_more_is(factor: float, rate: float) -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(60):
        drift: itertools.count[int] = itertools.count()
        measured = ratios(lambda d=drift: clock(rng, 1.0, d), lambda d=drift: clock(rng, factor, d))
        found.append(is_slower(measured))
    # 60 rounds: a rate off by .1 would show at least one with probability .998
    assert abs(np.mean(found) - rate) <= 0.05


def test_abba_cancels_a_steady_drift() -> None:
    drift: itertools.count[int] = itertools.count()

    def slower() -> float:
        return 1 + 0.01 * next(drift)

    assert np.mean(ratios(slower, slower)) == pytest.approx(1.0, abs=1e-12)


def found(*medians: float, spread: float = 0.004) -> Timing:
    """A timing whose rounds have these medians."""
    return Timing([[m * (1 + spread * (k - 7)) for k in range(15)] for m in medians])


def test_what_is_dearer_must_be_so_in_a_second_pair_of_processes() -> None:
    assert found(1.0).outcome == "pass"
    assert found(1.2).outcome == "undecided"
    assert found(1.2, 1.2).outcome == "regression"
    assert found(1.2, 1.0).outcome == "undecided"
    assert found(1.2, 1.0, 1.0, 1.0).outcome == "pass"


def test_noise_that_could_hide_a_tenth_is_undecided_and_says_what_it_would_have_seen() -> None:
    blind = found(1.0, spread=0.03)
    assert blind.outcome == "undecided"
    assert "least that could be seen" in str(blind)
    assert minimum_detectable_ratio([1.0, 1.0]) == math.inf
    assert found(1.0, 1.0, 1.0, 1.0, spread=0.03).outcome == "pass"  # four times the blocks see half as much noise


@pytest.mark.parametrize(("noise", "least"), [(0.02, 39), (0.05, 38), (0.1, 0)])
@pytest.mark.parametrize(("factor", "wanted", "wrong"), [(1.0, "pass", "regression"), (1.1, "regression", "pass")])
def test_noise_delays_a_decision_and_does_not_make_it_wrong(
    noise: float, least: int, factor: float, wanted: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing_module, "Worker", Clock)
    monkeypatch.setattr(Clock, "factor", factor)
    monkeypatch.setattr(Clock, "noise", noise)
    timings = compare_times(Path("fast"), Path("slow"), Path("suite"), [Subject(f"{k}") for k in range(40)])
    outcomes = [timing.outcome for timing in timings.values()]
    assert outcomes.count(wanted) >= least
    assert outcomes.count(wrong) <= 2  # the bounds hold with probability .99: more than 2 of 40 once in a hundred


def test_least_seen_is_the_ratio_at_which_a_cell_becomes_dearer() -> None:
    noise = [1 + 0.01 * (k - 7) for k in range(15)]
    least = minimum_detectable_ratio(noise)
    assert not is_slower([0.999 * least * v for v in noise])
    assert is_slower([1.001 * least * v for v in noise])


def test_a_verdict_on_time_names_cell_metric_interval_and_command() -> None:
    (check,) = time_checks(
        {Subject("an_objective"): found(1.2, 1.2)},
        lambda name: f"python -m bench regression --against main --objective {name}",
    )
    assert (check.cell, check.metric, check.before, check.outcome) == (
        "an_objective",
        "CPU seconds a step",
        "×1",
        "regression",
    )
    assert check.after.startswith("×1.200 (1.")
    assert check.after.endswith("in 2 pairs of processes")
    assert check.command == "python -m bench regression --against main --objective an_objective"


class Clock:
    """Stands in for a worker: a step of the tree `slow` takes `factor` of a noisy unit of time."""

    factor = 1.0
    noise = 0.01
    started = 0

    def __init__(self, tree: Path, suite: Path) -> None:
        self.unit = self.factor if tree.name == "slow" else 1.0
        type(self).started += 1
        self.rng = np.random.default_rng(self.started)

    def prepare(self, objective: str) -> int:
        return 43

    def seconds(self, objective: str, steps: int) -> float:
        return steps * self.unit * math.exp(self.noise * self.rng.normal())

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("factor", "injected", "outcome", "processes"),
    [(1.0, 1.0, "pass", 2), (1.1, 1.0, "regression", 4), (1.0, 1.1, "regression", 4), (0.9, 1.1, "pass", 2)],
)
def test_what_looks_dearer_is_timed_again_in_fresh_processes(
    monkeypatch: pytest.MonkeyPatch, factor: float, injected: float, outcome: str, processes: int
) -> None:
    monkeypatch.setattr(timing_module, "Worker", Clock)
    monkeypatch.setattr(Clock, "factor", factor)
    monkeypatch.setattr(Clock, "started", 0)
    subject = Subject("an_objective", injected)
    timing = compare_times(Path("fast"), Path("slow"), Path("suite"), [subject])[subject]
    assert (timing.outcome, Clock.started) == (outcome, processes)
    # 43 steps are rounded up to 50, so that a tenth more is 55, not 47 for 43
    assert np.median(timing.rounds[0]) == pytest.approx(factor * injected, rel=0.01)


def test_an_objective_that_a_version_cannot_run_is_undecided_and_the_others_are_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def prepare(self: Clock, objective: str) -> int:
        if objective == "broken":
            raise UntimedError("ValueError")
        return 43

    monkeypatch.setattr(timing_module, "Worker", Clock)
    monkeypatch.setattr(Clock, "prepare", prepare)
    timings = compare_times(Path("fast"), Path("slow"), Path("suite"), [Subject("broken"), Subject("whole")])
    checks = {check.cell: check for check in time_checks(timings, "again {}".format)}
    assert {name: check.outcome for name, check in checks.items()} == {"broken": "undecided", "whole": "pass"}
    assert checks["broken"].after.startswith("not timed")


def test_a_worker_times_the_steps_of_a_tree() -> None:
    worker = Worker(Tree(ROOT), SUITES / "gate.toml")
    try:
        steps = worker.prepare("denoising_score_matching")
        assert steps >= 1
        with pytest.raises(UntimedError, match="no_such_objective"):
            worker.prepare("no_such_objective")
        assert worker.seconds("denoising_score_matching", 20 * steps) > worker.seconds(
            "denoising_score_matching", steps
        )
    finally:
        worker.close()


def test_an_unknown_commit_is_named() -> None:
    with pytest.raises(UsageError, match="no-such-commit"), checked_out("no-such-commit"):
        pass
