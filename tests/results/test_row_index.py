"""The index of rows: read once, thrown away at will, and never believed over the files."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.common import json_files
from bench.common.errors import UsageError
from bench.results import attempt as attempt_module
from bench.results import integrity, row_index
from bench.results import store as store_module
from bench.results.attempt import Attempt
from bench.results.metric_values import MetricKey, reasons_of_row, values_of_row
from bench.results.records import read_records
from bench.results.row_index import INDEX_FILE, newest_rows
from bench.results.store import Planned, Store
from bench.runner.executor import execute
from tests.helpers.large_store import fill_large_store
from tests.helpers.store_helpers import finished
from tests.helpers.toy_workers import toy_spec

ROOT = Path(__file__).resolve().parents[2]


def values(root: Path) -> dict[int, float]:
    found = {}
    for place, attempt in newest_rows(root).items():
        row = attempt.row() or {}
        found[place.seed] = row["metrics"]["kl"]["last"]["value"]
    return found


def value(number: float) -> dict[str, object]:
    return {"metrics": {"kl": {"last": {"value": number}}}}


def test_it_says_what_the_rows_say_first_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        finished(tmp_path, seed, **value(seed + 0.5))
    assert values(tmp_path) == {0: 0.5, 1: 1.5, 2: 2.5}
    assert (tmp_path / INDEX_FILE).exists()
    monkeypatch.setattr(Attempt, "row", lambda attempt: attempt.known)  # no file of a row is read any more
    assert values(tmp_path) == {0: 0.5, 1: 1.5, 2: 2.5}


def test_the_newest_attempt_counts(tmp_path: Path) -> None:
    for number in range(12):
        finished(tmp_path, 0, **value(float(number)))
    assert values(tmp_path) == {0: 11.0}
    Store(tmp_path).begin(Planned.of(toy_spec(0)))  # one without a row does not
    assert values(tmp_path) == {0: 11.0}


def test_a_row_that_was_changed_or_deleted_later_is_seen(tmp_path: Path) -> None:
    attempt = finished(tmp_path, 0, **value(1.0))
    other = finished(tmp_path, 1, **value(2.0))
    assert len(values(tmp_path)) == 2
    row = attempt.folder / "row.json"
    text = row.read_text(encoding="utf-8")
    row.write_text(text.replace("1.0", "9.0"), encoding="utf-8")
    with pytest.raises(UsageError, match="was changed since it was written"):
        newest_rows(tmp_path)
    row.write_text(text, encoding="utf-8")
    (other.folder / "row.json").unlink()
    assert values(tmp_path) == {0: 1.0}


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\x00" + b"\xff" * 200])
def test_a_damaged_index_is_made_again(tmp_path: Path, damage: bytes) -> None:
    finished(tmp_path, 0, **value(1.0))
    newest_rows(tmp_path)
    (tmp_path / INDEX_FILE).write_bytes(damage)
    assert values(tmp_path) == {0: 1.0}
    assert values(tmp_path) == {0: 1.0}


def test_without_a_place_for_it_the_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(tmp_path, 0, **value(1.0))
    monkeypatch.setattr(row_index, "INDEX_FILE", "no/such/folder.sqlite")
    assert values(tmp_path) == {0: 1.0}


def test_a_row_is_unpacked_as_far_as_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(tmp_path, 0, **value(1.0))
    whole = Attempt(next(tmp_path.rglob("row.json")).parent).row() or {}
    unpacked: list[Any] = []
    unpack = row_index._unpacked

    def noted(content: bytes) -> Any:
        unpacked.append(unpack(content))
        return unpacked[-1]

    monkeypatch.setattr(row_index, "_unpacked", noted)
    (row,) = (attempt.row() for attempt in newest_rows(tmp_path).values())
    assert row
    assert row["status"] == "ok"
    assert row["attempt"] == whole["attempt"]
    assert whole["metrics"] not in unpacked
    assert whole["provenance"] not in unpacked
    assert dict(row) == {name: part for name, part in whole.items() if name != "spec"}
    assert row.get("no such", 3) == 3


def test_a_finished_suite_reads_no_row_and_writes_no_plan_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = fill_large_store(tmp_path, 2, 2, 2)
    newest_rows(tmp_path)
    execute(specs, Store(tmp_path), worker="tests.helpers.toy_workers:kill_itself")
    opened: list[str] = []
    read, write = json_files.read_json, integrity.write_sealed
    monkeypatch.setattr(attempt_module, "read_json", lambda path: opened.append(path.name) or read(path))
    monkeypatch.setattr(integrity, "write_sealed", lambda path, value: opened.append(path.name) or write(path, value))
    monkeypatch.setattr(
        store_module, "write_sealed", lambda path, value: opened.append(path.name) or write(path, value)
    )
    rows = execute(specs, Store(tmp_path), worker="tests.helpers.toy_workers:kill_itself")
    assert [row["status"] for row in rows] == ["ok"] * 8
    assert opened == []


def test_records_are_as_without_it(tmp_path: Path) -> None:
    fill_large_store(tmp_path, 2, 2, 2)
    first, again = (read_records(Store(tmp_path)) for _ in range(2))
    whole = {run.key: Store(tmp_path).rows_of(run)[-1] for run in Store(tmp_path).planned()}
    for one, two in zip(first, again, strict=True):
        row = whole[one.run.key]
        for record in (one, two):
            assert record.spec.to_dict() == row["spec"]
            assert record.get("metrics") == row["metrics"]
            assert record.get("provenance") == row["provenance"]
            assert record.status == "ok"
        assert one.values == two.values


def test_values_are_those_of_the_file(tmp_path: Path) -> None:
    """Which are read in another way: what a table shows of the detail, absent values, what has no known form."""
    about = {"value": 1, "stderr": None, "n": 5, "unit": "nats", "better": "lower", "reason": "", "certified": False}
    detail = {"bounds": "from below", "extractor": None, "points": [1, 2]}
    good = {"last": {**about, "detail": detail}, "ema": {"value": None, "reason": "no grid"}, "best": {}}
    finished(
        tmp_path, 0, metrics={"kl": good, "fid.own": {"ema": {**about, "value_reason": "inf", "better": "higher"}}}
    )
    finished(tmp_path, 1, metrics={"kl": {"last": {"value": "much"}}})
    finished(tmp_path, 2, metrics=None)
    for place, attempt in newest_rows(tmp_path).items():
        row, whole = attempt.row() or {}, Attempt(attempt.folder).row() or {}
        assert values_of_row(row) == values_of_row(whole), place
        assert reasons_of_row(row) == reasons_of_row(whole)
        if place.seed == 0:
            assert reasons_of_row(row) == {"no grid": ["kl"]}
            assert values_of_row(row)[MetricKey("kl", "", "last")].bounds == "from below"


@pytest.mark.parametrize("name", [".", "inside/../store"])
def test_a_relative_store_is_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    root = tmp_path / "store"
    finished(root, 0, **value(1.0))
    (tmp_path / "inside").mkdir()
    whole = {place: attempt.number for place, attempt in newest_rows(root).items()}
    monkeypatch.chdir(root if name == "." else tmp_path)
    assert {place: attempt.number for place, attempt in newest_rows(Path(name)).items()} == whole


@pytest.mark.long
def test_ten_thousand_rows_are_read_at_once(tmp_path: Path) -> None:
    specs = fill_large_store(tmp_path)
    command = [sys.executable, "-m", "bench", "verdict", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # fills the index
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 350_000
    began = time.monotonic()
    rows = execute(specs, Store(tmp_path), worker="tests.helpers.toy_workers:kill_itself")
    assert time.monotonic() - began < 15
    assert {row["status"] for row in rows} == {"ok"}
