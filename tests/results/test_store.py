"""Runs on disk: written once, whole or absent, and never edited."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.common import json_files
from bench.common.run_spec import RunSpec
from bench.results.attempt import now
from bench.results.store import Store
from tests.helpers.store_helpers import another_process, finished, planned


def strictly(path: Path) -> Any:
    """The file as JSON that any reader understands: the names NaN and Infinity are Python's own."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_a_run_lies_where_the_layout_says(tmp_path: Path) -> None:
    attempt = finished(tmp_path, seed=3)
    assert attempt.folder == tmp_path / "toy" / "descent" / "line" / planned(3).cell_id / "s3-a1"
    assert {path.name for path in attempt.folder.iterdir()} == {"spec.json", "curve.jsonl", "log.txt", "row.json"}


def test_labels_that_are_no_file_names_stay_inside_the_store(tmp_path: Path) -> None:
    attempt = Store(tmp_path).begin(planned(objective="../../etc [k=1,m=ü]/x", suite="..", dataset=""))
    assert tmp_path in attempt.folder.resolve().parents
    assert len(attempt.folder.relative_to(tmp_path).parts) == 5
    assert Store(tmp_path).attempts() == [attempt]


def test_a_row_has_the_identity_the_outcome_and_every_status_field(tmp_path: Path) -> None:
    row = finished(tmp_path, seed=2, work={"steps": 9}, seed_of_somebody=1).row()
    assert row is not None
    expected = {"suite": "toy", "seed": 2, "attempt": 1, "cell_id": planned(2).cell_id, "status": "ok"}
    assert expected.items() <= row.items()
    assert row["work"] == {"steps": 9}
    assert row["spec"] == json_files.to_plain(planned(2).spec.to_dict())
    assert RunSpec.from_dict(row["spec"]) == planned(2).spec
    assert {"reason", "phase", "last_step", "error", "signal"} <= row.keys()
    assert row["provenance"]["began"] < row["provenance"]["ended"]
    assert "supervisor" not in row


def test_an_outcome_cannot_change_whose_row_it_is(tmp_path: Path) -> None:
    row = finished(tmp_path, seed=2, cell_id="another", suite="another", spec={}).row()
    assert row is not None
    assert (row["suite"], row["cell_id"]) == ("toy", planned(2).cell_id)
    assert RunSpec.from_dict(row["spec"]) == planned(2).spec


def test_a_row_without_a_last_step_takes_it_from_the_curve(tmp_path: Path) -> None:
    attempt = Store(tmp_path).begin(planned())
    for point in ({"step": 10}, {"step": 20}, {"note": "no step"}):
        attempt.append(point)
    assert attempt.finish({"status": "killed"})["last_step"] == 20


def test_run_ids_sort_by_time(tmp_path: Path) -> None:
    ids = [finished(tmp_path, seed).intent()["run_id"] for seed in (5, 3, 4, 0)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 4


def test_a_row_is_never_written_again(tmp_path: Path) -> None:
    attempt = finished(tmp_path)
    before = (attempt.folder / "row.json").read_bytes()
    with pytest.raises(FileExistsError, match="has a row already"):
        attempt.finish({"status": "error"})
    assert (attempt.folder / "row.json").read_bytes() == before


def test_a_second_try_is_a_new_attempt_and_the_newest_counts(tmp_path: Path) -> None:
    attempts = [finished(tmp_path, last_step=n) for n in range(11)]
    assert [attempt.number for attempt in attempts] == list(range(1, 12))
    rows = Store(tmp_path).rows_of(planned())
    assert [row["last_step"] for row in rows] == list(range(11))  # the tenth comes after the ninth, not the first


def test_the_attempts_of_one_seed_are_not_those_of_another(tmp_path: Path) -> None:
    for seed in (1, 10, 11):
        finished(tmp_path, seed)
    assert [row["seed"] for row in Store(tmp_path).rows_of(planned(1))] == [1]


def test_a_write_that_fails_leaves_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = Store(tmp_path).begin(planned())

    def full(handle: int) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            attempt.finish({"status": "ok"})
    assert attempt.row() is None
    assert attempt.finish({"status": "ok"})["status"] == "ok"


def test_a_file_is_replaced_as_a_whole_under_whoever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    json_files.write_json(path, {"n": 1})
    with path.open(encoding="utf-8") as reader:
        json_files.write_json(path, {"n": 2})
        assert json.load(reader) == {"n": 1}
    assert strictly(path) == {"n": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_at_any_moment_leaves_every_row_whole_or_absent(tmp_path: Path) -> None:
    """Written in place, one row in seven would be torn."""
    code = """
filling = {"text": "x" * 200_000}
print("begun", flush=True)
for seed in range(100_000):
    attempt = store.begin(Planned.of(toy_spec(seed)))
    attempt.append(filling)
    attempt.finish({"status": "ok", **filling})
"""
    moment = random.Random(0)
    for kill in range(6):
        torn = Store(tmp_path / str(kill))
        with another_process(code, torn.root) as process:
            time.sleep(moment.uniform(0.02, 0.2))
            process.send_signal(signal.SIGKILL)
            process.wait()
        unfinished = [attempt for attempt in torn.attempts() if attempt.row() is None]
        assert len(unfinished) <= 1
        assert [row["status"] for row in torn.mark_orphans_killed()] == ["killed"] * len(unfinished)
        assert torn.verify() == []
        for attempt in torn.attempts():
            assert strictly(attempt.folder / "row.json")["status"] in ("ok", "killed")
            assert all(len(point["text"]) == 200_000 for point in attempt.curve())


def test_a_curve_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    code = """
attempt = store.begin(Planned.of(toy_spec()))
attempt.append({"step": 0})
print("begun", flush=True)
for step in range(1, 2000):
    attempt.append({"step": step, "text": "x" * 5000})
"""
    with another_process(code, tmp_path):
        (attempt,) = Store(tmp_path).attempts()
        for _ in range(5):
            curve = attempt.curve()
            assert [point["step"] for point in curve] == list(range(len(curve)))


def test_a_torn_line_in_the_middle_of_a_curve_is_not_passed_over(tmp_path: Path) -> None:
    attempt = Store(tmp_path).begin(planned())
    (attempt.folder / "curve.jsonl").write_text('{"step": 0}\n{"st\n{"step": 2}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="is not readable JSON"):
        attempt.curve()


def test_a_folder_without_an_intent_is_no_attempt_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    first = finished(tmp_path)
    (first.folder.parent / "s0-a2").mkdir()
    assert Store(tmp_path).attempts_of(planned()) == [first]
    assert Store(tmp_path).begin(planned()).number == 3


def test_a_curve_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    attempt = Store(tmp_path).begin(planned())
    assert attempt.curve() == []
    points = [{"step": n, "loss": 1 / (1 + n)} for n in range(3)]
    for point in points:
        attempt.append(point)
    whole = (attempt.folder / "curve.jsonl").read_bytes()
    assert attempt.curve() == points
    for length in range(len(whole)):
        (attempt.folder / "curve.jsonl").write_bytes(whole[:length])
        assert attempt.curve() == points[: whole[:length].count(b"\n")]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), torch.tensor(math.inf)])
def test_a_number_that_is_not_finite_is_null_with_its_name_beside_it(tmp_path: Path, value: Any) -> None:
    attempt = Store(tmp_path).begin(planned())
    attempt.append({"step": 1, "loss": value})
    attempt.finish({"status": "ok", "metrics": {"kl": {"last": {"value": value, "list": [1.0, value]}}}})
    found = strictly(attempt.folder / "row.json")["metrics"]["kl"]["last"]
    name = str(float(value))
    assert found == {"value": None, "value_reason": name, "list": [1.0, None], "list_reason": name}
    assert attempt.curve() == [{"step": 1, "loss": None, "loss_reason": name}]


def test_what_has_no_plain_form_is_refused_with_its_type() -> None:
    with pytest.raises(TypeError, match="plain values only; got object"):
        json_files.to_plain({"a": [object()]})


def test_plain_values_lose_nothing() -> None:
    value = {"array": np.arange(3), "scalar": np.float64(0.1), "path": Path("a"), "set": {2, 1}, 1: (True, None)}
    expected = {"array": [0, 1, 2], "scalar": 0.1, "path": "a", "set": [1, 2], "1": [True, None]}
    assert json_files.to_plain(value) == expected
    assert (
        json_files.digest_json({"a": 1, "b": 2})
        == json_files.digest_json({"b": 2, "a": 1})
        != json_files.digest_json({"a": 1, "b": 3})
    )


def test_verify_is_silent_about_what_nobody_touched(tmp_path: Path) -> None:
    finished(tmp_path, 0, metrics={"kl": {"last": {"value": 0.1 + 0.2, "stderr": math.nan}}})
    Store(tmp_path).begin(planned(1)).finish({"status": "skipped", "reason": "needs ü"})  # neither a curve nor a log
    Store(tmp_path).begin(planned(2))
    assert Store(tmp_path).verify() == []


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("row.json", lambda text: text.replace('"ok"', '"error"'), "changed since it was written"),
        ("row.json", lambda text: text[: len(text) // 2], "not readable JSON"),
        ("row.json", lambda text: "{}", "changed since it was written"),
        ("spec.json", lambda text: text.replace('"seconds": null', '"seconds": 1.0'), "changed since it was written"),
        ("curve.jsonl", lambda text: text.replace("0.5", "0.4"), "changed since it was written"),
        ("curve.jsonl", lambda text: text + '{"step": 2}\n', "changed since it was written"),
        ("curve.jsonl", lambda text: "{\n", "changed since it was written"),
        ("curve.jsonl", None, "deleted"),
        ("log.txt", lambda text: text + "more\n", "changed since it was written"),
        ("log.txt", None, "deleted"),
    ],
)
def test_verify_names_what_was_edited(tmp_path: Path, name: str, change: Any, word: str) -> None:
    attempt, _ = finished(tmp_path, 0), finished(tmp_path, 1)
    path = attempt.folder / name
    if change is None:
        path.unlink()
    else:
        before = path.read_text(encoding="utf-8")
        path.write_text(change(before), encoding="utf-8")
        assert path.read_text(encoding="utf-8") != before
    (line,) = Store(tmp_path).verify()
    assert line == f"{path.relative_to(tmp_path)}: {word}"


def test_times_sort_as_text() -> None:
    times = [now() for _ in range(100)]
    assert times == sorted(times)
    assert {len(time) for time in times} == {len("2026-01-01T00:00:00.000000+00:00")}
