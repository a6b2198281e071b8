"""What the store promises: rows are whole or absent, nothing is lost or changed unseen, one run at a time."""

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workers import ToySpec, about

from bench.errors import UsageError
from bench.plain import plain
from bench.store import Attempt, Planned, Store

TESTS = Path(__file__).parent
HEADER = f"import sys; sys.path[:0] = [{str(TESTS.parent)!r}, {str(TESTS)!r}]\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def planned(seed: int = 0, **changed: Any) -> Planned:
    return Planned.of(ToySpec(seed, **changed))


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HEADER + code, *map(str, arguments)]
    return subprocess.Popen(command, text=True, **options)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_a_run_is_where_the_layout_says(store: Store) -> None:
    run = planned(3, objective=about("descent", label="descent[rate=0.1]"))
    attempt = store.begin(run)
    assert attempt.folder == store.root / "toy" / "descent-rate=0.1" / "line" / run.cell_id / "s3-a1"
    assert attempt.intent()["supervisor"]["pid"] == os.getpid()
    assert attempt.row() is None
    attempt.append({"step": 1})
    row = attempt.finish({"status": "ok"})
    assert sorted(path.name for path in attempt.folder.iterdir()) == ["curve.jsonl", "row.json", "spec.json"]
    assert attempt.row() == row
    assert store.begin(run).folder.name == "s3-a2"


def test_no_label_leads_out_of_the_store(store: Store) -> None:
    run = planned(suite="../..", objective=about("..", label="../../x"), dataset=about("/", label="/"))
    assert store.begin(run).folder.resolve().is_relative_to(store.root.resolve())
    assert len(store.attempts()) == 1


def test_a_row_is_never_written_twice(store: Store) -> None:
    attempt = store.begin(planned())
    attempt.finish({"status": "ok"})
    before = (attempt.folder / "row.json").read_bytes()
    with pytest.raises(FileExistsError):
        attempt.finish({"status": "error"})
    assert (attempt.folder / "row.json").read_bytes() == before


def test_what_an_outcome_says_cannot_change_whose_row_it_is(store: Store) -> None:
    row = store.begin(planned(seed=4)).finish({"status": "ok", "seed": 5, "cell_id": "x"})
    assert (row["seed"], row["cell_id"]) == (4, planned(seed=4).cell_id)


@pytest.mark.parametrize("torn", [b'{"step": 2, "lo', b'{"step": 2}', b"\xff\xfe"])
def test_a_torn_last_line_is_dropped_and_whole_ones_are_kept(store: Store, torn: bytes) -> None:
    attempt = store.begin(planned())
    attempt.append({"step": 0})
    attempt.append({"step": 1})
    with (attempt.folder / "curve.jsonl").open("ab") as file:
        file.write(torn)
    assert attempt.curve() == [{"step": 0}, {"step": 1}]
    assert attempt.finish({"status": "killed"})["last_step"] == 1


def test_a_torn_line_in_the_middle_is_not_passed_over(store: Store) -> None:
    attempt = store.begin(planned())
    (attempt.folder / "curve.jsonl").write_text('{"step": 0}\n{"st\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"Unterminated|Invalid control"):
        attempt.curve()


def test_rows_and_curves_survive_a_kill_at_any_moment(tmp_path: Path) -> None:
    """In-place writing tears one row in seven here; a rename none."""
    code = """
from pathlib import Path
from workers import ToySpec
from bench.store import Planned, Store
store = Store(Path(sys.argv[1]))
filler = {"text": "x" * 200_000}
print("begun", flush=True)
for seed in range(100_000):
    attempt = store.begin(Planned.of(ToySpec(seed)))
    attempt.append(filler)
    attempt.finish({"status": "ok", **filler})
"""
    choose = random.Random(0)
    for i in range(8):
        root = tmp_path / str(i)
        process = python(code, root, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(choose.uniform(0.02, 0.2))
        process.kill()
        process.wait()
        store = Store(root)
        unfinished = [attempt for attempt in store.attempts() if attempt.row() is None]
        assert len(unfinished) <= 1
        assert all(len(point["text"]) == 200_000 for attempt in store.attempts() for point in attempt.curve())
        assert [row["status"] for row in store.settle()] == ["killed"] * len(unfinished)
        assert store.verify() == []


def test_only_an_attempt_whose_supervisor_is_gone_is_settled(store: Store) -> None:
    code = """
import time
from pathlib import Path
from workers import ToySpec
from bench.store import Planned, Store
Store(Path(sys.argv[1])).begin(Planned.of(ToySpec(7)))
time.sleep(60)
"""
    process = python(code, store.root)
    wait_for(lambda: len(store.attempts()) == 1)
    assert store.settle() == []
    process.kill()
    wait_for(lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "Z")
    assert [row["status"] for row in store.settle()] == ["killed"], "a zombie supervises nothing"
    process.wait()
    assert store.settle() == []
    (row,) = store.rows_of(planned(7))
    assert row["signal"] is None
    assert "gone" in row["reason"]


def test_a_reused_process_id_is_not_taken_for_the_supervisor(store: Store) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        _pretend(store.begin(planned()), pid=other.pid, started=time.time() - 1000)
        assert len(store.settle()) == 1
        other.kill()


def test_a_supervisor_on_another_host_is_judged_by_its_deadline(store: Store) -> None:
    attempt = store.begin(planned(timeout_seconds=60.0))
    _pretend(attempt, host="elsewhere")
    assert store.settle() == []
    intent = attempt.intent()
    intent["provenance"]["began"] = "2020-01-01T00:00:00+00:00"
    (attempt.folder / "spec.json").write_text(json.dumps(intent))
    assert len(store.settle()) == 1


def _pretend(attempt: Attempt, **supervisor: Any) -> None:
    intent = attempt.intent()
    intent["supervisor"] |= supervisor
    (attempt.folder / "spec.json").write_text(json.dumps(intent))


def test_a_folder_without_an_intent_is_no_attempt(store: Store) -> None:
    first = store.begin(planned())
    first.finish({"status": "interrupted"})
    (first.folder.parent / "s0-a2").mkdir()
    assert store.attempts_of(planned()) == [first]
    assert store.begin(planned()).number == 3


def test_the_tenth_attempt_comes_after_the_ninth(store: Store) -> None:
    for i in range(11):
        store.begin(planned()).finish({"status": "interrupted", "phase": i})
    assert [row["phase"] for row in store.rows_of(planned())] == list(range(11))


def test_a_second_run_on_a_store_is_refused_by_the_name_of_the_first(store: Store) -> None:
    code = """
import time
from pathlib import Path
from bench.store import Store
with Store(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""
    process = python(code, store.root, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(UsageError, match=f"process {process.pid} ") as refused, store.lock():
        pass
    assert "\n" not in str(refused.value)
    process.kill()
    process.wait()
    with store.lock(), pytest.raises(UsageError, match=f"process {os.getpid()} "), store.lock():
        pass


def test_an_output_path_that_cannot_be_written_to_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match="is a file"):
        Store(file)
    for place in (file / "below", Path("/proc/nowhere")):
        with pytest.raises(UsageError, match="must be writable") as refused, Store(place).lock():
            pass
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["row.json", "curve.jsonl", "log.txt"])
def test_verify_sees_a_changed_file(store: Store, name: str) -> None:
    attempt = store.begin(planned())
    attempt.append({"step": 1})
    (attempt.folder / "log.txt").write_text("said\n")
    attempt.finish({"status": "ok", "metrics": {"kl": {"last": {"value": 0.5}}}})
    assert store.verify() == []
    path = attempt.folder / name
    path.write_text(path.read_text().replace("0.5", "0.4") if name == "row.json" else "")
    (line,) = store.verify()
    assert str(attempt.folder.relative_to(store.root)) in line


def test_verify_sees_a_row_that_is_not_json(store: Store) -> None:
    attempt = store.begin(planned())
    attempt.finish({"status": "ok"})
    (attempt.folder / "row.json").write_text("{")
    assert len(store.verify()) == 1
    with pytest.raises(UsageError, match="not readable JSON"):
        attempt.row()


def test_stores_are_merged_by_copying_folders(tmp_path: Path) -> None:
    parts = [Store(tmp_path / "a"), Store(tmp_path / "b")]
    for seed, store in enumerate(parts):
        store.write_plan([planned(seed)])
        store.begin(planned(seed)).finish({"status": "ok", "env": {"env_id": store.keep_environment({"cores": seed})}})
        shutil.copytree(store.root, tmp_path / "both", dirs_exist_ok=True)
    both = Store(tmp_path / "both")
    assert [run.seed for run in both.planned()] == [1, 0]
    assert [both.rows_of(run)[0]["seed"] for run in both.planned()] == [1, 0]
    assert both.verify() == []
    assert str(tmp_path) not in "".join(path.read_text() for path in both.root.rglob("spec.json"))
    for run in both.planned():
        assert both.environment(both.rows_of(run)[0]["env"]["env_id"]) == {"cores": run.seed}


def test_a_newer_plan_of_the_same_seed_replaces_its_cell_and_keeps_the_others(store: Store) -> None:
    store.write_plan([planned(0), planned(1)])
    store.write_plan([planned(1, seconds=9.0)])
    assert [(run.seed, run.spec["seconds"]) for run in store.planned()] == [(1, 9.0), (0, 0.0)]
    store.write_plan([planned(0), planned(1)])
    assert [(run.seed, run.spec["seconds"]) for run in store.planned()] == [(0, 0.0), (1, 0.0)]


def test_numbers_that_are_not_finite_become_null_with_a_reason() -> None:
    given = {"value": math.nan, "bound": [1.0, math.inf], "deep": [{"low": -math.inf}], "fine": 1.5}
    assert plain(given) == {
        "value": None,
        "value_reason": "nan",
        "bound": [1.0, None],
        "bound_reason": "inf",
        "deep": [{"low": None, "low_reason": "-inf"}],
        "fine": 1.5,
    }


def test_arrays_and_their_scalars_become_plain() -> None:
    given = {"a": np.arange(2), "b": np.float32(0.5), "c": np.array([math.nan]), "d": (1, True, None), "e": {"y", "x"}}
    expected = {"a": [0, 1], "b": 0.5, "c": [None], "c_reason": "nan", "d": [1, True, None], "e": ["x", "y"]}
    assert plain(given) == expected
    with pytest.raises(TypeError, match="plain values only; got object"):
        plain({"a": object()})


def test_a_row_on_disk_is_strict_json(store: Store) -> None:
    attempt = store.begin(planned())
    attempt.append({"loss": math.inf})
    attempt.finish({"status": "diverged", "metrics": {"kl": {"last": {"value": math.nan}}}})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads((attempt.folder / "row.json").read_text(), parse_constant=refuse)
    assert found["metrics"]["kl"]["last"] == {"value": None, "value_reason": "nan"}
    assert attempt.curve() == [{"loss": None, "loss_reason": "inf"}]


def test_a_torn_curve_is_what_a_kill_leaves(tmp_path: Path) -> None:
    """Whole lines only are read while the writer is at work, too."""
    code = """
from pathlib import Path
from workers import ToySpec
from bench.store import Planned, Store
attempt = Store(Path(sys.argv[1])).begin(Planned.of(ToySpec()))
for step in range(10_000_000):
    attempt.append({"step": step, "text": "x" * 5000})
"""
    process = python(code, tmp_path)
    wait_for(lambda: any(attempt.curve() for attempt in Store(tmp_path).attempts()))
    (attempt,) = Store(tmp_path).attempts()
    for _ in range(5):
        curve = attempt.curve()
        assert [point["step"] for point in curve] == list(range(len(curve)))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    curve = attempt.curve()
    assert [point["step"] for point in curve] == list(range(len(curve)))
