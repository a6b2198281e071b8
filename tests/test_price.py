"""What a plan predicts: the arithmetic here, on times that are given; FLOPs against those of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import price as module
from bench.price import price
from bench.run import run
from bench.spec import RunSpec, Selection, expand, read_suite

STEP, EVALUATION = 0.01, 2.0


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Steps and evaluations that take a known time; counts how often each is timed."""
    calls: Counter[str] = Counter()

    def fake(name: str, seconds: float) -> Any:
        def time(trainer: object) -> float:
            calls[name] += 1
            return seconds

        return time

    monkeypatch.setattr(module, "_time_step", fake("step", STEP))
    monkeypatch.setattr(module, "_time_evaluation", fake("evaluation", EVALUATION))
    monkeypatch.setattr(module.time, "process_time", lambda: 0.0)  # so that set-up takes none
    return calls


def planned(objectives: Sequence[str], datasets: Sequence[str] = ("two_moons",), **budget: Any) -> list[RunSpec]:
    specs = expand(read_suite("smoke"), Selection(tuple(objectives), tuple(datasets), (0, 1)), "cpu")
    return [replace(s, budget={**s.budget, **budget}) for s in specs]


def test_flops_are_predicted_exactly(timed: Counter[str], tmp_path: Path) -> None:
    for track in ("equal_steps", "equal_flops"):
        (spec, _) = (replace(s, track=track) for s in planned(["energy_discrepancy"], steps=4, flops=1e8))
        row = run(spec, tmp_path, lambda line: None)
        assert price([spec])[spec.cell_id].flops == row["work"]["flops_train"]


@pytest.mark.parametrize(("track", "training"), [("equal_steps", 200 * STEP), ("equal_seconds", 7.0)])
def test_seconds_are_those_of_the_steps_and_of_an_evaluation(timed: Counter[str], track: str, training: float) -> None:
    (spec, _) = (replace(s, track=track) for s in planned(["denoising_score_matching"], seconds=7.0))
    assert price([spec])[spec.cell_id].seconds == pytest.approx(training + EVALUATION)


def test_nothing_is_timed_twice(timed: Counter[str]) -> None:
    specs = planned(["denoising_score_matching", "contrastive_divergence"], ["two_moons", "eight_gaussians"])
    assert len(price(specs)) == 4
    assert timed == {"step": 2, "evaluation": 2}


def test_what_is_skipped_costs_nothing(timed: Counter[str]) -> None:
    specs = [replace(s, skip="no slope") for s in planned(["denoising_score_matching"])]
    assert [(p.flops, p.seconds) for p in price(specs).values()] == [(0, 0)]
    assert not timed
