"""What execution promises: a run that fails costs only itself."""

from __future__ import annotations

import mmap
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.common.errors import UsageError
from bench.results.store import Planned, Store
from bench.runner import child, executor, worker_process
from bench.runner.executor import execute
from tests.helpers.executor_helpers import ROOT, SCRIPT, alive, child_pids, rows_of, run
from tests.helpers.toy_workers import toy_spec


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_rows_come_in_the_order_of_the_specs_with_all_that_is_known(store: Store) -> None:
    specs = [toy_spec(seed) for seed in (3, 1, 2)]
    rows = run(store, "succeed", *specs, jobs=2)
    assert [row["seed"] for row in rows] == [3, 1, 2]
    assert {row["status"] for row in rows} == {"ok"}
    first = rows[0]
    assert first["metrics"]["kl"]["last"]["value"] == 3.0
    assert first["spec"] == specs[0].to_dict()
    assert first["env"]["threads"] == 1
    assert store.environment(first["env"]["env_id"])["python"] == first["env"]["python"]
    assert {"git_sha", "git_dirty", "argv", "began", "ended", "curve_sha256"} <= first["provenance"].keys()
    assert [len(attempt.curve()) for attempt in store.attempts()] == [3, 3, 3]
    assert store.verify() == []


def test_what_is_finished_is_left_alone(store: Store) -> None:
    first = run(store, "succeed", toy_spec(0))
    events: list[str] = []
    again = run(store, "succeed", toy_spec(0), toy_spec(1), on_event=lambda kind, *_: events.append(kind))
    assert again[0]["provenance"] == first[0]["provenance"]
    assert again[0]["metrics"] == first[0]["metrics"]
    assert events == ["kept", "start", "done"]
    assert len(store.attempts()) == 2


def test_a_spec_given_twice_runs_once(store: Store) -> None:
    rows = run(store, "succeed", toy_spec(0), toy_spec(0))
    assert rows[0] == rows[1]
    assert len(store.attempts()) == 1


def test_a_killed_child_costs_only_its_own_cell(store: Store) -> None:
    rows = run(store, "kill_itself_if_odd", *(toy_spec(seed) for seed in range(6)), jobs=2)
    assert [row["status"] for row in rows] == ["ok", "killed"] * 3
    assert (rows[1]["signal"], rows[1]["last_step"]) == ("SIGKILL", 5)


def test_a_hanging_child_is_ended_at_its_limit(store: Store) -> None:
    run(store, "succeed", toy_spec(9))  # the server is up: the limit is the child's own
    began = time.monotonic()
    (row,) = run(store, "hang", toy_spec(timeout_seconds=1.0))
    assert time.monotonic() - began < 10
    assert (row["status"], row["reason"], row["last_step"]) == ("timeout", "over its limit of 1 s", 1)
    assert not any(map(alive, child_pids(store)))


def test_an_exception_is_an_error_with_its_place(store: Store) -> None:
    (row,) = run(store, "raise_error")
    assert row["status"] == "error"
    assert row["reason"] == "ValueError: energy must return shape (256,)"
    assert row["error"]["type"] == "ValueError"
    assert row["error"]["message"].endswith("and more")
    file, _, line = row["error"]["where"].partition(":")
    assert 'raise ValueError("energy' in (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert row["last_step"] == 7
    assert "Traceback" in (store.attempts()[0].folder / "log.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("return_nonsense", "TypeError: a row holds plain values only; got object"),
        ("exit_early", "the child ended with exit code 3 and without a result"),
        ("no_such_function", "AttributeError: module 'tests.helpers.toy_workers' has no attribute"),
    ],
)
def test_every_other_end_is_an_error_with_a_reason(store: Store, function: str, reason: str) -> None:
    (row,) = run(store, function)
    assert row["status"] == "error"
    assert row["reason"].startswith(reason)


def test_a_module_that_is_not_there_is_an_error_of_each_run(store: Store) -> None:
    (row,) = execute([toy_spec()], store, worker="no_such_module:work")
    assert (row["status"], row["error"]["type"]) == ("error", "ModuleNotFoundError")


def test_what_diverged_keeps_its_step_and_what_it_cost(store: Store) -> None:
    (row,) = run(store, "diverge")
    assert (row["status"], row["reason"]) == ("diverged", "the loss is not finite at step 9")
    assert (row["last_step"], row["work"], row["error"]) == (9, {"steps": 9}, None)
    assert row["memory"]["rss_peak"] >= row["memory"]["rss_base"] > 0


def test_running_out_of_memory_is_told_from_other_errors(store: Store) -> None:
    (row,) = run(store, "run_out_of_memory")
    assert row["status"] == "oom"


@pytest.mark.parametrize(("kills", "status"), [([4, 5], "oom"), ([4, 4], "killed")])
def test_a_kill_by_the_kernel_for_want_of_memory_is_oom(
    store: Store, monkeypatch: pytest.MonkeyPatch, kills: list[int], status: str
) -> None:
    counts = iter(kills)
    monkeypatch.setattr(child, "_kernel_kills", lambda: next(counts))
    (row,) = run(store, "kill_itself")
    assert (row["status"], row["signal"]) == (status, "SIGKILL")


def test_a_value_that_is_not_finite_arrives_as_null_with_its_reason(store: Store) -> None:
    (row,) = run(store, "return_not_finite")
    found = row["metrics"]["kl"]["last"]
    assert found == {"value": None, "value_reason": "nan", "stderr": None, "stderr_reason": "inf"}


def test_what_a_child_says_goes_to_its_log(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    run(store, "speak")
    assert (store.attempts()[0].folder / "log.txt").read_text(
        encoding="utf-8"
    ) == "a word from python\na word from a shell\n"
    assert capfd.readouterr() == ("", "")


def test_a_child_has_one_thread_and_torch_is_loaded_once_for_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (row,) = run(store, "look_around")
    assert row["server_has_torch"]
    assert (row["threads"], row["blas_threads"]) == (1, "1")
    assert row["main"] is None, "the caller's script is none of the child's business"
    assert "OMP_NUM_THREADS" not in os.environ


def test_peak_memory_is_the_runs_own(store: Store) -> None:
    (large,) = run(store, "use_memory", toy_spec(0))
    (small,) = run(store, "succeed", toy_spec(1))
    assert large["memory"]["method"].startswith("VmHWM since")
    used = [row["memory"]["rss_peak"] - row["memory"]["rss_base"] for row in (large, small)]
    if "refused" in large["memory"]["method"]:
        pytest.skip(large["memory"]["method"])
    assert 190 << 20 < used[0] < 250 << 20  # it holds 200 MiB; the kernel counts in batches of pages
    assert used[1] < 20 << 20


def test_what_a_process_held_before_is_not_in_its_peak() -> None:
    with mmap.mmap(-1, 200 << 20) as block:  # no allocator keeps it
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    before = worker_process.status_bytes("VmHWM")
    if "refused" in worker_process.reset_peak():
        pytest.skip("this system does not let a process reset its peak")
    after = worker_process.status_bytes("VmHWM")
    assert before is not None
    assert after is not None
    assert after < before - (150 << 20)


def test_a_skipped_run_has_a_row_and_no_child_and_is_not_written_again(store: Store) -> None:
    spec = toy_spec(skip="descent needs a slope")
    for _ in range(2):
        (row,) = run(store, "kill_itself", spec)
        assert (row["status"], row["reason"]) == ("skipped", "descent needs a slope")
    assert len(store.attempts()) == 1
    (row,) = run(store, "succeed", toy_spec())
    assert row["status"] == "ok"


def test_a_skipped_run_is_written_again_when_the_reason_changes(store: Store) -> None:
    rows = [run(store, "kill_itself", toy_spec(skip=reason))[0] for reason in ("no slope", "no grid", "no grid")]
    assert [(row["reason"], row["attempt"]) for row in rows] == [("no slope", 1), ("no grid", 2), ("no grid", 2)]


def test_a_child_starts_in_a_fraction_of_the_time_that_torch_takes_to_load(store: Store) -> None:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    fresh = time.monotonic() - began
    run(store, "succeed", toy_spec(100))  # the server is up
    seconds = []
    for seed in range(4):
        began = time.monotonic()
        run(store, "succeed", toy_spec(seed))
        seconds.append(time.monotonic() - began)
    assert min(seconds) < fresh / 3, f"{min(seconds):.2f} s a run, {fresh:.2f} s a fresh interpreter"


@pytest.mark.parametrize("status", ["ok", "diverged", "error", "timeout", "oom"])
def test_a_final_row_is_kept(store: Store, status: str) -> None:
    store.begin(Planned.of(toy_spec())).finish({"status": status})
    (row,) = run(store, "succeed")
    assert (row["status"], row["attempt"]) == (status, 1)
    (row,) = run(store, "succeed", retry=True)
    assert (row["status"], row["attempt"]) == (("ok", 1) if status == "ok" else ("ok", 2))


@pytest.mark.parametrize("status", ["interrupted", "killed"])
def test_what_did_not_end_by_itself_is_tried_again(store: Store, status: str) -> None:
    for _ in range(5):
        store.begin(Planned.of(toy_spec())).finish({"status": status})
    (row,) = run(store, "succeed")
    assert (row["status"], row["attempt"]) == ("ok", 6)


def test_a_run_that_is_killed_twice_is_left_alone_until_asked(store: Store) -> None:
    attempts = [run(store, "kill_itself")[0]["attempt"] for _ in range(4)]
    assert attempts == [1, 2, 2, 2]
    (row,) = run(store, "succeed", retry=True)
    assert row["status"] == "ok"


def test_progress_counts_every_run_once(store: Store) -> None:
    run(store, "succeed", toy_spec(0))
    events: list[tuple[Any, ...]] = []

    def listen(kind: str, spec: Any, row: Any, done: int, total: int) -> None:
        events.append((kind, spec.seed, row and row["status"], done, total))

    run(store, "succeed", toy_spec(0), toy_spec(1), toy_spec(2, skip="no"), on_event=listen)
    assert events == [
        ("kept", 0, "ok", 1, 3),
        ("start", 1, None, 1, 3),
        ("done", 1, "ok", 2, 3),
        ("done", 2, "skipped", 3, 3),
    ]


def test_a_store_that_is_being_restored_is_refused(store: Store) -> None:
    with store.lock(), pytest.raises(UsageError, match="nothing else writes to a store"):
        run(store, "succeed")
    assert store.attempts() == []


def test_the_plan_is_kept_before_anything_runs(store: Store) -> None:
    run(store, "kill_itself", toy_spec(0), toy_spec(1, skip="no"))
    assert [planned.spec.seed for planned in store.planned()] == [0, 1]


def test_a_supervisor_can_be_sent_to_another_process_as_a_cluster_does(store: Store) -> None:
    supervision = executor._Supervision(on_event=lambda *_: None)  # a listener cannot travel, and need not
    arguments = [Planned.of(toy_spec(5))], store, "tests.helpers.toy_workers:succeed", supervision, {"argv": ["here"]}
    code = SCRIPT.partition("specs =")[0] + "import pickle; f, *a = pickle.load(sys.stdin.buffer); f(*a)"
    task = pickle.dumps((executor._supervise, *arguments))
    subprocess.run([sys.executable, "-c", code], input=task, capture_output=True, check=True)
    (row,) = rows_of(store)
    assert (row["status"], row["seed"], row["provenance"]["argv"]) == ("ok", 5, ["here"])
