"""Runs on disk: written once, whole or absent, never edited, and added up by copying folders."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from workers import ToySpec, about

from bench import plain, store
from bench.errors import UsageError
from bench.store import Attempt, Planned, Store

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
HEAD = """
import sys, time
from pathlib import Path
from workers import ToySpec
from bench import plain
from bench.store import Planned, Store
store = Store(Path(sys.argv[1]))
"""


def planned(seed: int = 0, **changes: Any) -> Planned:
    return Planned.of(ToySpec(seed=seed, **changes))


def finished(root: Path, seed: int = 0, **outcome: Any) -> Attempt:
    attempt = Store(root).begin(planned(seed))
    attempt.append({"step": 1, "loss": 0.5})
    (attempt.folder / "log.txt").write_text("a line\n")
    attempt.finish({"status": "ok", **outcome})
    return attempt


@contextmanager
def another_process(code: str, root: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs the code on the store and gives the process once it has printed a line; killed at the end."""
    command = [sys.executable, "-c", HEAD + code, str(root)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline(), "the other process ended early"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def strictly(path: Path) -> Any:
    """The file as JSON that any reader understands: the names NaN and Infinity are Python's own."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_run_lies_where_the_layout_says(tmp_path: Path) -> None:
    attempt = finished(tmp_path, seed=3)
    assert attempt.folder == tmp_path / "toy" / "descent" / "line" / planned(3).cell_id / "s3-a1"
    assert {path.name for path in attempt.folder.iterdir()} == {"spec.json", "curve.jsonl", "log.txt", "row.json"}


def test_labels_that_are_no_file_names_stay_inside_the_store(tmp_path: Path) -> None:
    attempt = Store(tmp_path).begin(planned(objective=about("../../etc [k=1,m=ü]/x"), suite="..", dataset=about("")))
    assert tmp_path in attempt.folder.resolve().parents
    assert len(attempt.folder.relative_to(tmp_path).parts) == 5
    assert Store(tmp_path).attempts() == [attempt]


def test_a_row_has_the_identity_the_outcome_and_every_status_field(tmp_path: Path) -> None:
    row = finished(tmp_path, seed=2, work={"steps": 9}, seed_of_somebody=1).row()
    assert row is not None
    expected = {"suite": "toy", "seed": 2, "attempt": 1, "cell_id": planned(2).cell_id, "status": "ok"}
    assert expected.items() <= row.items()
    assert row["work"] == {"steps": 9}
    assert row["spec"] == planned(2).spec
    assert {"reason", "phase", "last_step", "error", "signal"} <= row.keys()
    assert row["provenance"]["began"] < row["provenance"]["ended"]
    assert "supervisor" not in row


def test_an_outcome_cannot_change_whose_row_it_is(tmp_path: Path) -> None:
    row = finished(tmp_path, seed=2, cell_id="another", suite="another", spec={}).row()
    assert row is not None
    assert (row["suite"], row["cell_id"], row["spec"]) == ("toy", planned(2).cell_id, planned(2).spec)


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
    plain.write(path, {"n": 1})
    with path.open() as reader:
        plain.write(path, {"n": 2})
        assert json.load(reader) == {"n": 1}
    assert strictly(path) == {"n": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_at_any_moment_leaves_every_row_whole_or_absent(tmp_path: Path) -> None:
    """Written in place, one row in seven would be torn."""
    code = """
filling = {"text": "x" * 200_000}
print("begun", flush=True)
for seed in range(100_000):
    attempt = store.begin(Planned.of(ToySpec(seed)))
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
        assert [row["status"] for row in torn.settle()] == ["killed"] * len(unfinished)
        assert torn.verify() == []
        for attempt in torn.attempts():
            assert strictly(attempt.folder / "row.json")["status"] in ("ok", "killed")
            assert all(len(point["text"]) == 200_000 for point in attempt.curve())


def test_a_curve_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    code = """
attempt = store.begin(Planned.of(ToySpec()))
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
    (attempt.folder / "curve.jsonl").write_text('{"step": 0}\n{"st\n{"step": 2}\n')
    with pytest.raises(ValueError, match="Unterminated string"):
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
        plain.plain({"a": [object()]})


def test_plain_values_lose_nothing() -> None:
    value = {"array": np.arange(3), "scalar": np.float64(0.1), "path": Path("a"), "set": {2, 1}, 1: (True, None)}
    expected = {"array": [0, 1, 2], "scalar": 0.1, "path": "a", "set": [1, 2], "1": [True, None]}
    assert plain.plain(value) == expected
    assert plain.digest({"a": 1, "b": 2}) == plain.digest({"b": 2, "a": 1}) != plain.digest({"a": 1, "b": 3})


def test_an_output_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("")
    with pytest.raises(UsageError, match=r"must be a folder; .*taken' is a file: give another --out"):
        Store(file)


def test_an_output_path_inside_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with (
        pytest.raises(UsageError, match=r"must be writable; .*give another --out"),
        Store(tmp_path / "taken/in").lock(),
    ):
        pass


def test_a_second_holder_is_told_who_holds_the_store(tmp_path: Path) -> None:
    with another_process("with store.lock(): print('held', flush=True); time.sleep(60)", tmp_path) as process:
        with pytest.raises(UsageError, match=rf"is held by process {process.pid} on .*: wait, or give another --out"):
            Store(tmp_path).lock().__enter__()
        process.kill()
        process.wait()
        with Store(tmp_path).lock():  # no stale lock is left behind
            pass


def test_a_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Store(tmp_path).lock():
        raise RuntimeError
    with Store(tmp_path).lock():
        pass


def test_an_attempt_whose_supervisor_is_gone_becomes_a_killed_row(tmp_path: Path) -> None:
    code = """
attempt = store.begin(Planned.of(ToySpec(seed=1)))
attempt.append({"step": 40})
print("begun", flush=True)
time.sleep(60)
"""
    with another_process(code, tmp_path) as process:
        assert Store(tmp_path).settle() == []  # its supervisor lives: hands off
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead and not yet collected: a zombie
        (row,) = Store(tmp_path).settle()
    assert (row["status"], row["seed"], row["last_step"]) == ("killed", 1, 40)
    assert row["reason"] == "the process that supervised it is gone"
    assert Store(tmp_path).rows_of(planned(1)) == [row]
    assert Store(tmp_path).settle() == []
    assert Store(tmp_path).verify() == []


def test_a_zombie_supervises_nothing(tmp_path: Path) -> None:
    code = "store.begin(Planned.of(ToySpec())); print(1, flush=True); time.sleep(60)"
    with another_process(code, tmp_path) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked how
        assert len(Store(tmp_path).settle()) == 1


def test_a_process_id_that_is_used_again_is_not_the_supervisor(tmp_path: Path) -> None:
    with another_process("store.begin(Planned.of(ToySpec())); print(1, flush=True); time.sleep(60)", tmp_path):
        (attempt,) = Store(tmp_path).attempts()
        supervisor = attempt.intent()["supervisor"]
        edit(attempt.folder / "spec.json", supervisor={**supervisor, "started": supervisor["started"] - 100})
        assert len(Store(tmp_path).settle()) == 1


@pytest.mark.parametrize(("seconds_ago", "settled"), [(100, 0), (60 + 700, 1)])
def test_on_another_host_only_the_deadline_says_that_a_supervisor_is_gone(
    tmp_path: Path, seconds_ago: float, settled: int
) -> None:
    attempt = Store(tmp_path).begin(planned(timeout_seconds=60))
    began = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    supervisor = {**attempt.intent()["supervisor"], "host": "elsewhere"}
    edit(attempt.folder / "spec.json", supervisor=supervisor, provenance={"began": began})
    assert len(Store(tmp_path).settle()) == settled


def test_verify_is_silent_about_what_nobody_touched(tmp_path: Path) -> None:
    finished(tmp_path, 0, metrics={"kl": {"last": {"value": 0.1 + 0.2, "stderr": math.nan}}})
    Store(tmp_path).begin(planned(1)).finish({"status": "skipped", "reason": "needs ü"})  # neither a curve nor a log
    Store(tmp_path).begin(planned(2))
    assert Store(tmp_path).verify() == []


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("row.json", lambda text: text.replace('"ok"', '"error"'), "row_sha256"),
        ("row.json", lambda text: text[: len(text) // 2], "not readable JSON"),
        ("row.json", lambda text: "{}", "row_sha256"),
        ("spec.json", lambda text: text.replace('"seconds": 0.0', '"seconds": 1.0'), "spec"),
        ("curve.jsonl", lambda text: text.replace("0.5", "0.4"), "curve_sha256"),
        ("curve.jsonl", lambda text: text + '{"step": 2}\n', "curve_sha256"),
        ("curve.jsonl", lambda text: "{\n", "Expecting property name"),
        ("curve.jsonl", None, "curve_sha256"),
        ("log.txt", lambda text: text + "more\n", "log_sha256"),
        ("log.txt", None, "log_sha256"),
    ],
)
def test_verify_names_what_was_edited(tmp_path: Path, name: str, change: Any, word: str) -> None:
    attempt, _ = finished(tmp_path, 0), finished(tmp_path, 1)
    path = attempt.folder / name
    if change is None:
        path.unlink()
    else:
        before = path.read_text()
        path.write_text(change(before))
        assert path.read_text() != before
    (line,) = Store(tmp_path).verify()
    assert str(attempt.folder.relative_to(tmp_path)) in line
    assert word in line


def test_a_plan_is_the_denominator_whatever_has_run(tmp_path: Path) -> None:
    runs = [planned(seed) for seed in range(4)]
    Store(tmp_path).write_plan(runs)
    finished(tmp_path, 1)
    assert Store(tmp_path).planned() == runs
    Store(tmp_path).write_plan(runs)
    assert len(list((tmp_path / "plans").iterdir())) == 1


def test_running_a_part_of_a_plan_does_not_shrink_the_denominator(tmp_path: Path) -> None:
    runs = [planned(seed) for seed in range(4)]
    Store(tmp_path).write_plan(runs)
    Store(tmp_path).write_plan(runs[:1])
    assert {run.key for run in Store(tmp_path).planned()} == {run.key for run in runs}


def test_a_cell_whose_settings_changed_is_planned_once_as_it_is_now(tmp_path: Path) -> None:
    Store(tmp_path).write_plan([planned(0, seconds=1.0), planned(1, seconds=1.0)])
    Store(tmp_path).write_plan([planned(0, seconds=2.0)])
    assert {(run.seed, run.spec["seconds"]) for run in Store(tmp_path).planned()} == {(0, 2.0), (1, 1.0)}
    Store(tmp_path).write_plan([planned(0, seconds=1.0), planned(1, seconds=1.0)])  # and back: the newest date counts
    assert {(run.seed, run.spec["seconds"]) for run in Store(tmp_path).planned()} == {(0, 1.0), (1, 1.0)}


def test_each_suite_has_a_plan_of_its_own(tmp_path: Path) -> None:
    Store(tmp_path).write_plan([planned(suite="a"), planned(suite="b")])
    assert {path.name.partition("-")[0] for path in (tmp_path / "plans").iterdir()} == {"a", "b"}
    assert {run.suite for run in Store(tmp_path).planned()} == {"a", "b"}


def test_copying_folders_merges_stores(tmp_path: Path) -> None:
    for name, seeds in (("one", (0, 1)), ("two", (2, 3))):
        Store(tmp_path / name).write_plan([planned(seed) for seed in seeds])
        for seed in seeds:
            finished(tmp_path / name, seed)
        Store(tmp_path / name).keep_environment({"python": "3.11", "host": name})
    shutil.copytree(tmp_path / "two", tmp_path / "one", dirs_exist_ok=True)
    merged = Store(tmp_path / "one")
    assert sorted(run.seed for run in merged.planned()) == [0, 1, 2, 3]
    assert all(row["seed"] == run.seed for run in merged.planned() for row in merged.rows_of(run))
    assert len(list((merged.root / "env").iterdir())) == 2
    assert str(tmp_path) not in "".join(path.read_text() for path in merged.root.rglob("*.json"))
    assert merged.verify() == []


def test_an_environment_is_kept_once_under_an_id_of_its_contents(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    first = kept.keep_environment({"python": "3.11", "cores": 2})
    assert kept.keep_environment({"cores": 2, "python": "3.11"}) == first
    assert kept.keep_environment({"cores": 4, "python": "3.11"}) != first
    assert kept.environment(first) == {"python": "3.11", "cores": 2}


def test_an_objective_from_somebodys_file_is_told_from_a_known_one_of_that_name() -> None:
    own = planned(objective=about("descent", ref="/somewhere/mine.py"))
    assert own.objective == "descent (mine.py)"
    assert planned().objective == "descent"


def test_times_sort_as_text() -> None:
    times = [store.now() for _ in range(100)]
    assert times == sorted(times)
    assert {len(time) for time in times} == {len("2026-01-01T00:00:00.000000+00:00")}
