"""Stores into one: nothing twice, nothing lost, conflicts named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.common.errors import UsageError
from bench.results.merge import merge
from bench.results.store import Planned, Store
from tests.helpers.executor_helpers import rows_of
from tests.helpers.store_helpers import finished
from tests.helpers.toy_workers import toy_spec


def value(number: float) -> dict[str, Any]:
    return {"metrics": {"kl": {"last": {"value": number}}}, "time": {"train_wall": number + 1}}


def test_every_run_is_there_once(tmp_path: Path) -> None:
    for store, seeds in (("a", (0, 1)), ("b", (1, 2))):
        for seed in seeds:
            finished(tmp_path / store, seed, **value(float(seed)))
        Store(tmp_path / store).write_plan([Planned.of(toy_spec(seed)) for seed in seeds])
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert (merged.added, merged.duplicates, merged.conflicts) == (3, 1, [])
    store = Store(tmp_path / "c")
    assert sorted(row["seed"] for row in rows_of(store)) == [0, 1, 2]
    assert sorted(run.spec.seed for run in store.planned()) == [0, 1, 2]
    assert store.verify() == []
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c").added == 0, "again is nothing"


def test_a_difference_between_runs_of_one_identity_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path / "a", **value(1.0))
    finished(tmp_path / "b", **value(2.0))
    assert main.main(["merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 3
    said = capsys.readouterr()
    assert "differ in metrics; the first is kept" in said.out
    assert "1 runs added" in said.err
    (row,) = rows_of(Store(tmp_path / "c"))
    assert row["metrics"]["kl"]["last"]["value"] == 1.0


def test_times_are_no_conflict(tmp_path: Path) -> None:
    finished(tmp_path / "a", **{**value(1.0), "time": {"train_wall": 5.0}})
    finished(tmp_path / "b", **value(1.0))
    merged = merge([tmp_path / "b"], tmp_path / "a")
    assert (merged.added, merged.duplicates, merged.conflicts) == (0, 1, [])


def test_the_completed_try_counts_whichever_store_comes_first(tmp_path: Path) -> None:
    finished(tmp_path / "a", status="killed", reason="gone", signal="SIGKILL")
    finished(tmp_path / "b", **value(1.0))
    for order in ("ab", "ba"):
        merge([tmp_path / name for name in order], tmp_path / order)
        assert Store(tmp_path / order).rows_of(Planned.of(toy_spec()))[-1]["status"] == "ok"
        assert Store(tmp_path / order).verify() == []


def test_a_changed_row_is_refused(tmp_path: Path) -> None:
    attempt = finished(tmp_path / "a", **value(1.0))
    path = attempt.folder / "row.json"
    path.write_text(path.read_text(encoding="utf-8").replace("1.0", "0.1"), encoding="utf-8")
    with pytest.raises(UsageError, match="was changed since it was written"):
        merge([tmp_path / "a"], tmp_path / "c")


def test_unfinished_runs_and_their_checkpoints_stay(tmp_path: Path) -> None:
    finished(tmp_path / "a", **value(1.0))
    attempt = Store(tmp_path / "a").begin(Planned.of(toy_spec(1)))
    (attempt.folder.parent / ".checkpoint-x").mkdir()
    merge([tmp_path / "a"], tmp_path / "c")
    assert [row["seed"] for row in rows_of(Store(tmp_path / "c"))] == [0]
    assert not list((tmp_path / "c").rglob(".checkpoint*"))
