"""Supervisors on several hosts, here processes that call themselves so, share the work of one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.results.store import Store
from tests.helpers.executor_helpers import ROOT, rows_of, wait_for

HOST = f"""
import socket, sys
sys.path.insert(0, {str(ROOT)!r})
name = sys.argv[2]
socket.gethostname = lambda: name
from pathlib import Path
from tests.helpers.toy_workers import toy_spec
from bench.runner.executor import execute
from bench.results.store import Store
specs = [toy_spec(seed, seconds=float(sys.argv[4])) for seed in range(int(sys.argv[3]))]
worker = "tests.helpers.toy_workers:" + sys.argv[5]
rows = execute(specs, Store(Path(sys.argv[1])), worker=worker, jobs=1)
print(*(row["status"] for row in rows))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def host(
    store: Store, name: str, seeds: int, seconds: float, function: str = "succeed", lease: float = 3.0
) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOST, str(store.root), name, str(seeds), str(seconds), function]
    variables = {**os.environ, "EBM_BENCH_LEASE_SECONDS": str(lease)}
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, env=variables, start_new_session=True)


def test_two_hosts_share_the_work_and_train_nothing_twice(store: Store) -> None:
    hosts = [host(store, name, 8, 0.3) for name in ("a", "b")]
    for process in hosts:
        output, _ = process.communicate(timeout=120)
        assert output.split() == ["ok"] * 8, "each waits for what the other holds"
    assert sorted(row["seed"] for row in rows_of(store)) == list(range(8))
    by = [attempt.intent()["supervisor"]["host"] for attempt in store.attempts()]
    assert len(by) == 8
    assert set(by) == {"a", "b"}
    assert store.verify() == []
    assert not list(store.root.rglob("*.lease*"))


@pytest.mark.long
def test_what_a_dead_host_held_is_taken_over(store: Store) -> None:
    dead = host(store, "a", 2, 0.1, "hang")
    wait_for(lambda: len(list(store.root.rglob("curve.jsonl"))) == 1)
    other = host(store, "b", 2, 0.1)
    wait_for(lambda: len(rows_of(store)) == 1)  # what nobody holds
    assert other.poll() is None
    os.killpg(dead.pid, signal.SIGKILL)
    dead.wait()
    output, _ = other.communicate(timeout=60)
    assert output.split() == ["ok", "ok"]
    rows = sorted((row["seed"], row["status"]) for row in rows_of(store))
    assert rows == [(0, "killed"), (0, "ok"), (1, "ok")]


@pytest.mark.long
def test_a_host_that_slept_writes_no_row_of_what_was_taken_over(store: Store) -> None:
    asleep = host(store, "a", 1, 4)
    wait_for(lambda: len(list(store.root.rglob("curve.jsonl"))) == 1)
    os.kill(asleep.pid, signal.SIGSTOP)
    other = host(store, "b", 1, 4)
    output, _ = other.communicate(timeout=60)
    assert output.split() == ["ok"]
    os.kill(asleep.pid, signal.SIGCONT)
    output, _ = asleep.communicate(timeout=60)
    assert output.split() == ["ok"], "it takes the other's row"
    rows = sorted((row["attempt"], row["status"]) for row in rows_of(store))
    assert rows == [(1, "killed"), (2, "ok")]
