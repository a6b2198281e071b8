"""Stacks: seeds that share a child have each its own row, whatever comes of the child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.common.run_spec import RunSpec
from bench.results.store import Planned, Store
from tests.helpers.executor_helpers import run
from tests.helpers.toy_workers import toy_spec


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def stacked(store: Store, function: str, *specs: RunSpec, **options: Any) -> list[dict[str, Any]]:
    """What `function` makes of seeds together; alone, they succeed."""
    return run(
        store,
        "succeed",
        *specs,
        stack=lambda run: True,
        stack_worker=f"tests.helpers.toy_workers:{function}",
        **options,
    )


def test_seeds_of_a_cell_share_a_child_and_each_has_its_row(store: Store) -> None:
    other = toy_spec(0, "ascent")
    rows = stacked(store, "together", toy_spec(0), other, toy_spec(1), toy_spec(2), toy_spec(3, skip="no slope"))
    assert [row["status"] for row in rows] == ["ok"] * 4 + ["skipped"]
    assert [row.get("stacked_with") for row in rows] == [[0, 1, 2], None, [0, 1, 2], [0, 1, 2], None]
    assert [row["metrics"]["kl"]["last"]["value"] for row in rows[:4]] == [0, 0, 1, 2]
    attempts = [a for run_ in (toy_spec(0), toy_spec(1), toy_spec(2)) for a in store.attempts_of(Planned.of(run_))]
    assert [len(a.curve()) for a in attempts] == [3, 3, 3]
    assert {(a.folder / "log.txt").read_text(encoding="utf-8") for a in attempts} == {"a word from the stack\n"}
    assert store.verify() == []


def test_only_what_is_missing_is_stacked(store: Store) -> None:
    run(store, "succeed", toy_spec(1))
    rows = stacked(store, "together", *(toy_spec(seed) for seed in range(4)))
    assert [row.get("stacked_with") for row in rows] == [[0, 2, 3], None, [0, 2, 3], [0, 2, 3]]
    assert len(store.attempts()) == 4


def test_an_error_of_a_stack_is_the_row_of_each_of_its_seeds(store: Store) -> None:
    rows = stacked(store, "raise_error_together", toy_spec(0), toy_spec(1))
    assert [(row["seed"], row["status"], row["last_step"]) for row in rows] == [(0, "error", 7), (1, "error", None)]


def test_a_stack_that_is_killed_is_a_row_of_each_seed_and_is_next_tried_seed_by_seed(store: Store) -> None:
    seeds = toy_spec(0), toy_spec(1)
    rows = stacked(store, "kill_itself_together", *seeds)
    assert [(row["status"], row["signal"]) for row in rows] == [("killed", "SIGKILL")] * 2
    assert all(row["reason"].endswith("(a stack of seeds 0, 1)") for row in rows)
    rows = stacked(store, "kill_itself_together", *seeds)
    assert [(row["status"], row["attempt"]) for row in rows] == [("ok", 2)] * 2


def test_a_stack_has_the_time_of_all_its_seeds_and_then_each_has_timed_out(store: Store) -> None:
    rows = stacked(store, "together", *(toy_spec(s, timeout_seconds=1.2, seconds=1.0) for s in range(3)))
    assert [row["status"] for row in rows] == ["ok"] * 3, "three seconds of work in three times 1.2"
    rows = stacked(store, "hang_together", *(toy_spec(s, timeout_seconds=0.5) for s in (3, 4)))
    assert [row["reason"] for row in rows] == ["over its limit of 1 s (a stack of seeds 3, 4)"] * 2
    assert {row["status"] for row in rows} == {"timeout"}
