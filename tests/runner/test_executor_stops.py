"""An execution that is interrupted or killed ends its children, loses nothing and repeats nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bench.results.store import Planned, Store
from bench.runner import child, executor
from tests.helpers.executor_helpers import SCRIPT, alive, child_pids, rows_of, run, wait_for
from tests.helpers.toy_workers import toy_spec


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def script(store: Store, function: str, seeds: int, seconds: float = 0.0) -> subprocess.Popen[str]:
    """An execution in a process group of its own."""
    path = store.root.with_name("script.py")
    path.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, str(path), str(store.root), function, str(seeds), str(seconds)]
    options: dict[str, Any] = {"text": True, "stdout": subprocess.PIPE, "start_new_session": True}
    # where tests run in the background of a shell, an interruption is ignored, and children inherit that
    return subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM])
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
    rows = run(store, "succeed", *(toy_spec(seed) for seed in range(4)))
    assert [(row["status"], row["attempt"]) for row in rows] == [("ok", 1), ("ok", 2)] * 2


def test_a_signal_that_reaches_the_child_first_is_an_interruption_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "GRACE", 20)
    supervision = executor._Supervision()

    def signal_the_group_slowly() -> None:
        wait_for(lambda: len(child_pids(store)) == 1)
        os.kill(child_pids(store)[0], signal.SIGTERM)
        time.sleep(0.5)
        supervision.stop()

    thread = threading.Thread(target=signal_the_group_slowly)
    thread.start()
    ((_, row),) = executor._supervise(
        [Planned.of(toy_spec())], store, "tests.helpers.toy_workers:hang", supervision, {}
    )
    thread.join()
    assert row is not None
    assert row["status"] == "interrupted"


def test_a_child_does_not_outlive_its_supervisor(store: Store) -> None:
    process = script(store, "hang", 1)
    wait_for(lambda: len(child_pids(store)) == 1)
    process.kill()  # the supervisor alone
    process.wait()
    wait_for(lambda: not alive(child_pids(store)[0]), seconds=5)


@pytest.mark.long
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
