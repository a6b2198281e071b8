"""A run that two suites of a store ask for is made once, and stands in both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bench.common.run_spec import RunSpec
from bench.results import shared_runs
from bench.results.store import Planned, Store
from tests.helpers.executor_helpers import rows_of, run
from tests.helpers.toy_workers import toy_spec


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def told(store: Store, *specs: RunSpec, worker: str = "succeed", **options: Any) -> list[str]:
    events: list[str] = []
    run(store, worker, *specs, on_event=lambda kind, *_: events.append(kind), **options)
    return events


def test_a_suite_takes_over_what_another_has_finished(store: Store) -> None:
    (first,) = run(store, "succeed", toy_spec(3))
    league = toy_spec(3, suite="league", suite_version=7, timeout_seconds=5.0)
    assert told(store, league, toy_spec(4, suite="league")) == ["kept", "start", "done"]
    taken = store.rows_of(Planned.of(league))[-1]
    assert (taken["suite"], taken["suite_version"], taken["metrics"]) == ("league", 7, first["metrics"])
    assert taken["provenance"]["taken_from"] == first["run_id"]
    assert taken["provenance"]["git_sha"] == first["provenance"]["git_sha"]
    curves = [a.curve() for a in store.attempts() if (a.row() or {})["seed"] == 3]
    assert curves[0] == curves[1] != []
    assert store.verify() == []
    assert told(store, league) == ["kept"]
    assert len(rows_of(store)) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"budget": replace(toy_spec().budget, steps=7)},
        {"save_weights": True},
        {"dataset": "ring"},
        {"objective": "ascent"},
    ],
    ids=str,
)
def test_a_run_that_would_give_other_numbers_or_files_is_made(store: Store, other: dict[str, Any]) -> None:
    run(store, "succeed", toy_spec(0))
    assert told(store, toy_spec(0, suite="league", **other)) == ["start", "done"]


@pytest.mark.parametrize("worker", ["raise_error", "kill_itself"])
def test_what_may_be_the_machines_fault_is_tried_again(store: Store, worker: str) -> None:
    run(store, worker, toy_spec(0))
    assert told(store, toy_spec(0, suite="league")) == ["start", "done"]


def test_a_run_that_was_changed_since_is_not_taken_over(store: Store) -> None:
    run(store, "succeed", toy_spec(0))
    (path,) = (attempt.folder / "curve.jsonl" for attempt in store.attempts())
    path.write_text("{}\n", encoding="utf-8")
    assert told(store, toy_spec(0, suite="league")) == ["start", "done"]


def test_a_copy_that_fails_costs_only_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    run(store, "succeed", toy_spec(0))
    monkeypatch.setattr(shared_runs.shutil, "copy2", full)
    assert told(store, toy_spec(0, suite="league")) == ["start", "done"]
    assert store.verify() == []
