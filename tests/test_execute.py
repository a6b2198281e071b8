"""What execution promises: a run that fails costs only itself, and a kill at any moment costs only time."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import workers
from workers import ToySpec

from bench import child
from bench import execute as module
from bench.errors import UsageError
from bench.execute import execute
from bench.store import Planned, Store

TESTS = Path(__file__).parent
# without a __main__ guard: what a child runs again, it would say again
SCRIPT = f"""
print("begun")
import sys
sys.path[:0] = [{str(TESTS.parent)!r}, {str(TESTS)!r}]
from pathlib import Path
from workers import ToySpec
from bench.execute import execute
from bench.store import Store
specs = [ToySpec(seed, seconds=float(sys.argv[4])) for seed in range(int(sys.argv[3]))]
try:
    rows = execute(specs, Store(Path(sys.argv[1])), worker="workers:" + sys.argv[2], jobs=2)
except KeyboardInterrupt:
    sys.exit(130)
print(*(row["status"] for row in rows))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def run(store: Store, function: str, *specs: ToySpec, **options: Any) -> list[dict[str, Any]]:
    return execute(specs or [ToySpec()], store, worker=f"{workers.__name__}:{function}", **options)


def script(store: Store, function: str, seeds: int, seconds: float = 0.0) -> subprocess.Popen[str]:
    """An execution in a process group of its own."""
    path = store.root.with_name("script.py")
    path.write_text(SCRIPT)
    command = [sys.executable, str(path), str(store.root), function, str(seeds), str(seconds)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, start_new_session=True)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def rows_of(store: Store) -> list[dict[str, Any]]:
    return [row for attempt in store.attempts() if (row := attempt.row()) is not None]


def child_pids(store: Store) -> list[int]:
    return [point["pid"] for attempt in store.attempts() for point in attempt.curve() if "pid" in point]


def test_rows_come_in_the_order_of_the_specs_with_all_that_is_known(store: Store) -> None:
    specs = [ToySpec(seed) for seed in (3, 1, 2)]
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
    first = run(store, "succeed", ToySpec(0))
    events: list[str] = []
    again = run(store, "succeed", ToySpec(0), ToySpec(1), on_event=lambda kind, *_: events.append(kind))
    assert again[0] == first[0]
    assert events == ["kept", "start", "done"]
    assert len(store.attempts()) == 2


def test_a_spec_given_twice_runs_once(store: Store) -> None:
    rows = run(store, "succeed", ToySpec(0), ToySpec(0))
    assert rows[0] == rows[1]
    assert len(store.attempts()) == 1


def test_a_killed_child_costs_only_its_own_cell(store: Store) -> None:
    rows = run(store, "kill_itself_if_odd", *(ToySpec(seed) for seed in range(6)), jobs=2)
    assert [row["status"] for row in rows] == ["ok", "killed"] * 3
    assert (rows[1]["signal"], rows[1]["last_step"]) == ("SIGKILL", 5)


def test_a_hanging_child_is_ended_at_its_limit(store: Store) -> None:
    run(store, "succeed", ToySpec(9))  # the server is up: the limit is the child's own
    began = time.monotonic()
    (row,) = run(store, "hang", ToySpec(timeout_seconds=1.0))
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
    assert 'raise ValueError("energy' in (TESTS.parent / file).read_text().splitlines()[int(line) - 1]
    assert row["last_step"] == 7
    assert "Traceback" in (store.attempts()[0].folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("return_nonsense", "TypeError: a row holds plain values only; got object"),
        ("exit_early", "the child ended with exit code 3 and without a result"),
        ("no_such_function", "AttributeError: module 'workers' has no attribute"),
    ],
)
def test_every_other_end_is_an_error_with_a_reason(store: Store, function: str, reason: str) -> None:
    (row,) = run(store, function)
    assert row["status"] == "error"
    assert row["reason"].startswith(reason)


def test_a_module_that_is_not_there_is_an_error_of_each_run(store: Store) -> None:
    (row,) = execute([ToySpec()], store, worker="no_such_module:work")
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
    monkeypatch.setattr(module, "_kernel_kills", lambda: next(counts))
    (row,) = run(store, "kill_itself")
    assert (row["status"], row["signal"]) == (status, "SIGKILL")


def test_a_value_that_is_not_finite_arrives_as_null_with_its_reason(store: Store) -> None:
    (row,) = run(store, "return_not_finite")
    found = row["metrics"]["kl"]["last"]
    assert found == {"value": None, "value_reason": "nan", "stderr": None, "stderr_reason": "inf"}


def test_what_a_child_says_goes_to_its_log(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    run(store, "speak")
    assert (store.attempts()[0].folder / "log.txt").read_text() == "a word from python\na word from a shell\n"
    assert capfd.readouterr() == ("", "")


def test_a_child_has_one_thread_and_torch_is_loaded_once_for_all(store: Store) -> None:
    (row,) = run(store, "look_around")
    assert row["server_has_torch"]
    assert (row["threads"], row["blas_threads"]) == (1, "1")
    assert row["main"] is None, "the caller's script is none of the child's business"
    assert "OMP_NUM_THREADS" not in os.environ or os.environ["OMP_NUM_THREADS"] != "1"


def test_peak_memory_is_the_runs_own(store: Store) -> None:
    (large,) = run(store, "use_memory", ToySpec(0))
    (small,) = run(store, "succeed", ToySpec(1))
    assert large["memory"]["method"].startswith("VmHWM since")
    used = [row["memory"]["rss_peak"] - row["memory"]["rss_base"] for row in (large, small)]
    if "refused" in large["memory"]["method"]:
        pytest.skip(large["memory"]["method"])
    assert 190 << 20 < used[0] < 250 << 20  # it holds 200 MiB; the kernel counts in batches of pages
    assert used[1] < 20 << 20


def test_what_a_process_held_before_is_not_in_its_peak() -> None:
    block = bytearray(200 << 20)
    del block
    before = child.status_bytes("VmHWM")
    if "refused" in child._reset_peak():
        pytest.skip("this system does not let a process reset its peak")
    after = child.status_bytes("VmHWM")
    assert before is not None
    assert after is not None
    assert after < before - (150 << 20)


def test_a_skipped_run_has_a_row_and_no_child_and_is_not_written_again(store: Store) -> None:
    spec = ToySpec(skip="descent needs a slope")
    for _ in range(2):
        (row,) = run(store, "kill_itself", spec)
        assert (row["status"], row["reason"]) == ("skipped", "descent needs a slope")
    assert len(store.attempts()) == 1
    (row,) = run(store, "succeed", ToySpec())
    assert row["status"] == "ok"


def test_a_skipped_run_is_written_again_when_the_reason_changes(store: Store) -> None:
    rows = [run(store, "kill_itself", ToySpec(skip=reason))[0] for reason in ("no slope", "no grid", "no grid")]
    assert [(row["reason"], row["attempt"]) for row in rows] == [("no slope", 1), ("no grid", 2), ("no grid", 2)]


def test_a_child_starts_in_a_fraction_of_the_time_that_torch_takes_to_load(store: Store) -> None:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    fresh = time.monotonic() - began
    run(store, "succeed", ToySpec(100))  # the server is up
    seconds = []
    for seed in range(4):
        began = time.monotonic()
        run(store, "succeed", ToySpec(seed))
        seconds.append(time.monotonic() - began)
    assert min(seconds) < fresh / 3, f"{min(seconds):.2f} s a run, {fresh:.2f} s a fresh interpreter"


@pytest.mark.parametrize("status", ["ok", "diverged", "error", "timeout", "oom"])
def test_a_final_row_is_kept(store: Store, status: str) -> None:
    store.begin(Planned.of(ToySpec())).finish({"status": status})
    (row,) = run(store, "succeed")
    assert (row["status"], row["attempt"]) == (status, 1)
    (row,) = run(store, "succeed", retry=True)
    assert (row["status"], row["attempt"]) == (("ok", 1) if status == "ok" else ("ok", 2))


@pytest.mark.parametrize("status", ["interrupted", "killed"])
def test_what_did_not_end_by_itself_is_tried_again(store: Store, status: str) -> None:
    for _ in range(5):
        store.begin(Planned.of(ToySpec())).finish({"status": status})
    (row,) = run(store, "succeed")
    assert (row["status"], row["attempt"]) == ("ok", 6)


def test_a_run_that_is_killed_twice_is_left_alone_until_asked(store: Store) -> None:
    attempts = [run(store, "kill_itself")[0]["attempt"] for _ in range(4)]
    assert attempts == [1, 2, 2, 2]
    (row,) = run(store, "succeed", retry=True)
    assert row["status"] == "ok"


def test_progress_counts_every_run_once(store: Store) -> None:
    run(store, "succeed", ToySpec(0))
    events: list[tuple[Any, ...]] = []

    def listen(kind: str, spec: Any, row: Any, done: int, total: int) -> None:
        events.append((kind, spec.seed, row and row["status"], done, total))

    run(store, "succeed", ToySpec(0), ToySpec(1), ToySpec(2, skip="no"), on_event=listen)
    assert events == [
        ("kept", 0, "ok", 1, 3),
        ("start", 1, None, 1, 3),
        ("done", 1, "ok", 2, 3),
        ("done", 2, "skipped", 3, 3),
    ]


def test_a_store_in_use_is_refused(store: Store) -> None:
    with store.lock(), pytest.raises(UsageError, match="one run at a time"):
        run(store, "succeed")
    assert store.attempts() == []


def test_the_plan_is_kept_before_anything_runs(store: Store) -> None:
    run(store, "kill_itself", ToySpec(0), ToySpec(1, skip="no"))
    assert [planned.seed for planned in store.planned()] == [0, 1]


def stacked(store: Store, function: str, *specs: ToySpec, **options: Any) -> list[dict[str, Any]]:
    """What `function` makes of seeds together; alone, they succeed."""
    return run(store, "succeed", *specs, stack=lambda run: True, stack_worker=f"workers:{function}", **options)


def test_seeds_of_a_cell_share_a_child_and_each_has_its_row(store: Store) -> None:
    other = ToySpec(0, objective=workers.about("ascent"))
    rows = stacked(store, "together", ToySpec(0), other, ToySpec(1), ToySpec(2), ToySpec(3, skip="no slope"))
    assert [row["status"] for row in rows] == ["ok"] * 4 + ["skipped"]
    assert [row.get("stacked_with") for row in rows] == [[0, 1, 2], None, [0, 1, 2], [0, 1, 2], None]
    assert [row["metrics"]["kl"]["last"]["value"] for row in rows[:4]] == [0, 0, 1, 2]
    attempts = [a for run_ in (ToySpec(0), ToySpec(1), ToySpec(2)) for a in store.attempts_of(Planned.of(run_))]
    assert [len(a.curve()) for a in attempts] == [3, 3, 3]
    assert {(a.folder / "log.txt").read_text() for a in attempts} == {"a word from the stack\n"}
    assert store.verify() == []


def test_only_what_is_missing_is_stacked(store: Store) -> None:
    run(store, "succeed", ToySpec(1))
    rows = stacked(store, "together", *(ToySpec(seed) for seed in range(4)))
    assert [row.get("stacked_with") for row in rows] == [[0, 2, 3], None, [0, 2, 3], [0, 2, 3]]
    assert len(store.attempts()) == 4


def test_an_error_of_a_stack_is_the_row_of_each_of_its_seeds(store: Store) -> None:
    rows = stacked(store, "raise_error_together", ToySpec(0), ToySpec(1))
    assert [(row["seed"], row["status"], row["last_step"]) for row in rows] == [(0, "error", 7), (1, "error", None)]


def test_a_stack_that_is_killed_is_a_row_of_each_seed_and_is_next_tried_seed_by_seed(store: Store) -> None:
    seeds = ToySpec(0), ToySpec(1)
    rows = stacked(store, "kill_itself_together", *seeds)
    assert [(row["status"], row["signal"]) for row in rows] == [("killed", "SIGKILL")] * 2
    assert all(row["reason"].endswith("(a stack of seeds 0, 1)") for row in rows)
    rows = stacked(store, "kill_itself_together", *seeds)
    assert [(row["status"], row["attempt"]) for row in rows] == [("ok", 2)] * 2


def test_a_stack_has_the_time_of_all_its_seeds_and_then_each_has_timed_out(store: Store) -> None:
    rows = stacked(store, "together", *(ToySpec(s, timeout_seconds=1.2, seconds=1.0) for s in range(3)))
    assert [row["status"] for row in rows] == ["ok"] * 3, "three seconds of work in three times 1.2"
    rows = stacked(store, "hang_together", *(ToySpec(s, timeout_seconds=0.5) for s in (3, 4)))
    assert [row["reason"] for row in rows] == ["over its limit of 1 s (a stack of seeds 3, 4)"] * 2
    assert {row["status"] for row in rows} == {"timeout"}


def test_a_supervisor_can_be_sent_to_another_process_as_a_cluster_does(store: Store) -> None:
    crew = module._Crew(on_event=lambda *_: None)  # a listener cannot travel, and need not
    arguments = [Planned.of(ToySpec(5))], store, "workers:succeed", crew, {"argv": ["here"]}
    code = SCRIPT.partition("specs =")[0] + "import pickle; f, *a = pickle.load(sys.stdin.buffer); f(*a)"
    task = pickle.dumps((module._supervise, *arguments))
    subprocess.run([sys.executable, "-c", code], input=task, capture_output=True, check=True)
    (row,) = rows_of(store)
    assert (row["status"], row["seed"], row["provenance"]["argv"]) == ("ok", 5, ["here"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_children_and_loses_nothing(store: Store, number: signal.Signals) -> None:
    process = script(store, "hang_if_odd", 4)
    wait_for(lambda: len(child_pids(store)) == 2)  # seeds 1 and 3 hang, so 0 and 2 are done
    wait_for(lambda: len(rows_of(store)) == 2)
    if number == signal.SIGINT:
        for pid in child_pids(store):
            os.kill(pid, number)
        time.sleep(0.3)
        assert all(map(alive, child_pids(store))), "the supervisor decides, not the child"
    os.killpg(process.pid, number)  # as a terminal and a cluster's scheduler do
    assert process.wait(timeout=60) == 130
    assert not any(map(alive, child_pids(store)))
    assert sorted((row["seed"], row["status"]) for row in rows_of(store)) == [
        (0, "ok"),
        (1, "interrupted"),
        (2, "ok"),
        (3, "interrupted"),
    ]
    rows = run(store, "succeed", *(ToySpec(seed) for seed in range(4)))
    assert [(row["status"], row["attempt"]) for row in rows] == [("ok", 1), ("ok", 2)] * 2


def test_a_signal_that_reaches_the_child_first_is_an_interruption_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 20)
    crew = module._Crew()

    def signal_the_group_slowly() -> None:
        wait_for(lambda: len(child_pids(store)) == 1)
        os.kill(child_pids(store)[0], signal.SIGTERM)
        time.sleep(0.5)
        crew.stop()

    thread = threading.Thread(target=signal_the_group_slowly)
    thread.start()
    ((_, row),) = module._supervise([Planned.of(ToySpec())], store, "workers:hang", crew, {})
    thread.join()
    assert row is not None
    assert row["status"] == "interrupted"


def test_a_child_does_not_outlive_its_supervisor(store: Store) -> None:
    process = script(store, "hang", 1)
    wait_for(lambda: len(child_pids(store)) == 1)
    process.kill()  # the supervisor alone
    process.wait()
    wait_for(lambda: not alive(child_pids(store)[0]), seconds=5)


def test_a_kill_of_the_whole_group_at_any_moment_loses_and_repeats_nothing(store: Store) -> None:
    choose = random.Random(1)
    finished: dict[Path, bytes] = {}
    for kill in range(3):
        process = script(store, "succeed", 12, 0.3)
        if kill % 2:  # at any moment from its start
            time.sleep(choose.uniform(0.2, 3))
        else:  # once it is at work
            wait_for(lambda: len(list(store.root.rglob("row.json"))) > len(finished))  # noqa: B023 (called at once)
            time.sleep(choose.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        rows = {path: path.read_bytes() for path in store.root.rglob("row.json")}
        assert finished.items() <= rows.items(), "a finished row was lost or changed"
        finished = rows
    output, _ = script(store, "succeed", 12, 0.3).communicate(timeout=60)
    assert output.split() == ["begun"] + ["ok"] * 12
    assert {json.loads(row)["status"] for row in finished.values()} <= {"ok", "killed"}
    assert finished.items() <= {path: path.read_bytes() for path in store.root.rglob("row.json")}.items()
    assert sorted(row["seed"] for row in rows_of(store) if row["status"] == "ok") == list(range(12)), "each once"
    assert None not in [attempt.row() for attempt in store.attempts()], "what was cut off is written down as killed"
    assert store.verify() == []
