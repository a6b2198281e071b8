"""The machine's fault is not the objective's: a status of its own, run again next time, and no other run's loss."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.common import machine_faults
from bench.common.errors import UsageError
from bench.common.machine_faults import MACHINE_ERROR, LostDataError
from bench.common.run_spec import RunSpec
from bench.results import attempt as attempts
from bench.results import store as stores
from bench.results.store import Planned, Store
from bench.runner import executor
from bench.runner.worker_process import failure
from tests.helpers.executor_helpers import rows_of, run
from tests.helpers.toy_workers import toy_spec

DATASET = """
from pathlib import Path
from bench.api import Data, Rng, dataset

@dataset(source="this test")
def mine(rng: Rng) -> Data:
    (Path(__file__).parent / "numbers.txt").read_text()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize("code", machine_faults._CODES, ids=errno.errorcode.get)
def test_an_error_of_the_machine_is_known_by_its_code_its_words_or_its_cause(code: int) -> None:
    error = OSError(code, os.strerror(code))
    assert failure(error)["status"] == MACHINE_ERROR
    assert failure(caused(UsageError("data set mine raised OSError"), error))["status"] == MACHINE_ERROR
    if code != errno.ENOMEM:  # torch says that of its own memory, which is the run's
        assert failure(RuntimeError(f"writing failed: {os.strerror(code)}"))["status"] == MACHINE_ERROR


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("No space left on device"), "error"),
        (FileNotFoundError(errno.ENOENT, "no such file"), "error"),
        (LostDataError("mine not found"), MACHINE_ERROR),
        (RuntimeError("can't start new thread"), MACHINE_ERROR),
        (MemoryError(), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "oom"),
    ],
)
def test_other_errors_are_put_down_to_whom_they_belong(error: Exception, status: str) -> None:
    assert failure(error)["status"] == status


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("fill_the_disk", "OSError: [Errno 28] No space left on device"),
        ("open_too_many_files", "OSError: [Errno 24] Too many open files"),
        ("kill_the_fork_server", "the fork server exited"),
    ],
)
def test_a_run_that_the_machine_failed_is_run_again(store: Store, function: str, reason: str) -> None:
    (row,) = run(store, function)
    assert row["status"] == MACHINE_ERROR
    assert row["reason"].startswith(reason)
    (row,) = run(store, "succeed")
    assert (row["status"], row["attempt"]) == ("ok", 2)


def test_data_that_vanish_after_the_plan_are_the_machines_and_a_file_that_never_was_is_not(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(DATASET, encoding="utf-8")
    (lost,) = run(store, "lose_the_data", toy_spec(dataset=str(tmp_path / "mine.py")))
    assert lost["status"] == MACHINE_ERROR
    assert "numbers.txt" in lost["reason"]
    (row,) = run(store, "open_a_file_that_never_was")
    assert row["status"] == "error"


@pytest.fixture
def no_fork_server() -> Any:
    """The next child needs a new server."""
    from multiprocessing import forkserver

    forkserver._forkserver._stop()


@pytest.mark.long
def test_a_temporary_folder_of_too_long_a_name_is_said_and_no_final_error(
    store: Store, tmp_path: Path, no_fork_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    with monkeypatch.context() as patch:
        patch.setitem(multiprocessing.process.current_process()._config, "tempdir", str(long))
        rows = run(store, "succeed", toy_spec(0), toy_spec(1))
    assert [row["status"] for row in rows] == [MACHINE_ERROR] * 2
    assert "no child could be started: OSError: AF_UNIX path too long: set TMPDIR" in rows[0]["reason"]
    assert [row["status"] for row in run(store, "succeed", toy_spec(0), toy_spec(1))] == ["ok"] * 2


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EMFILE, errno.ENOMEM])
def test_a_child_that_cannot_be_started_is_no_final_error(
    store: Store, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(multiprocessing.context.ForkServerContext, "Pipe", refused)
        (row,) = run(store, "succeed")
    assert row["status"] == MACHINE_ERROR
    assert os.strerror(code) in row["reason"]
    assert run(store, "succeed")[0]["status"] == "ok"


@pytest.mark.long
def test_a_fork_server_that_was_killed_between_runs_costs_none(store: Store) -> None:
    run(store, "succeed", toy_spec(0))
    pid = multiprocessing.forkserver._forkserver._forkserver_pid
    os.kill(pid, 9)
    rows = run(store, "succeed", *(toy_spec(seed) for seed in range(1, 4)), jobs=2)
    assert [row["status"] for row in rows] == ["ok"] * 3


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("write_own_row_if_odd", "row.json"),
        ("write_a_bad_curve_if_odd", "curve.jsonl"),
        ("write_own_spec_if_odd", "spec.json"),
    ],
)
def test_a_run_that_writes_what_the_harness_writes_costs_itself_alone(store: Store, function: str, name: str) -> None:
    rows = run(store, function, *(toy_spec(seed) for seed in range(4)))
    assert [row["status"] for row in rows] == ["ok", "error"] * 2
    assert f"the run wrote {name}, which only the harness writes" in rows[1]["reason"]
    assert rows_of(store) == rows
    assert all(attempt.curve() is not None for attempt in store.attempts())
    assert store.verify() == []


@pytest.mark.parametrize("written", ["spec.json", "row.json", "environment"])
def test_a_full_disk_leaves_the_store_consistent_and_says_so(
    store: Store, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., None] = stores.write_json
    broken: list[Path] = []

    def write(path: Path, value: Any) -> None:
        is_it = path.parent.name == "env" if written == "environment" else path.name == written
        if is_it and not broken:
            broken.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, value)

    with monkeypatch.context() as patch:
        for module in (stores, attempts):
            patch.setattr(module, "write_json", write)
        rows = run(store, "succeed", *(toy_spec(seed) for seed in range(3)))
    assert [row["status"] for row in rows] == [MACHINE_ERROR, "ok", "ok"]
    assert "No space left on device" in rows[0]["reason"]
    assert len(rows_of(store)) == 2
    assert [row["status"] for row in run(store, "succeed", *(toy_spec(seed) for seed in range(3)))] == ["ok"] * 3
    assert store.verify() == []


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Store(tmp_path).begin(Planned.of(toy_spec()))
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith("s0-a")] == []


def test_code_that_is_edited_to_what_is_no_python_ends_its_runs_and_no_other(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def broken(:", encoding="utf-8")
    about = {**toy_spec().to_dict()["objective"], "ref": str(path), "sha": "0" * 16}
    edited = toy_spec(0, type(toy_spec().objective)(**about))
    rows = run(store, "succeed", edited, toy_spec(1))
    assert [row["status"] for row in rows] == ["interrupted", "ok"]
    assert str(path) in rows[0]["reason"]


def test_a_disk_that_is_full_before_anything_runs_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "results/runs")

    monkeypatch.setattr(Store, "write_plan", full)
    objective = ["--objective", "denoising_score_matching", "--dataset", "two_moons", "--seed", "0"]
    assert main.main(["run", "--suite", "smoke", "--out", str(tmp_path / "out"), *objective]) == 3
    error = capsys.readouterr().err
    assert "bench: No space left on device: 'results/runs'" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["spec.json", "curve.jsonl"])
def test_what_a_killed_run_left_half_written_stops_no_suite(store: Store, name: str) -> None:
    attempt = store.begin(Planned.of(toy_spec(0)))
    (attempt.folder / name).write_text("{\n", encoding="utf-8")
    rows = run(store, "succeed", toy_spec(0), toy_spec(1))
    assert [(row["status"], row["attempt"]) for row in rows] == [("ok", 2), ("ok", 1)]
    named = store.verify()
    assert named == ([f"{attempt.folder.relative_to(store.root)}/spec.json: not readable JSON"] * (name == "spec.json"))


def test_an_exception_in_the_supervisor_costs_its_run_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(spec: RunSpec) -> str:
        if spec.seed == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return ""

    monkeypatch.setattr(executor, "changed_code", unreadable)
    rows = run(store, "succeed", *(toy_spec(seed) for seed in range(3)))
    assert [row["status"] for row in rows] == ["ok", MACHINE_ERROR, "ok"]


def test_a_worker_that_returns_too_few_results_is_an_error_of_its_runs(store: Store) -> None:
    worker = "tests.helpers.toy_workers:return_too_few_together"
    rows = run(store, "succeed", toy_spec(0), toy_spec(1), stack=lambda run: True, stack_worker=worker)
    assert [row["status"] for row in rows] == ["error", "error"]
    assert "must return as many results; it returned 0" in rows[0]["reason"]
