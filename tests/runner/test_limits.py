"""What a run may use is bounded: time, memory, its log, and what it starts is gone with it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench.cli import main
from bench.common.run_spec import LONGEST
from bench.results.store import Store
from bench.runner import child
from bench.runner.machine import machine_memory
from bench.suites.schema import read_suite
from tests.helpers.executor_helpers import alive, child_pids, run, wait_for
from tests.helpers.toy_workers import toy_spec

SUITE = """
name = "mine"
objectives = ["denoising_score_matching"]
datasets = ["two_moons"]
seeds = "0-1"
[budget]
steps = 2
batch = 16
[evaluation]
checkpoints = 1
samples = 10
sampler_steps = 2
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 3e6])
def test_a_limit_may_be_longer_than_the_system_can_wait(store: Store, seconds: float) -> None:
    specs = [toy_spec(seed, timeout_seconds=seconds) for seed in range(2)]
    assert specs[0].timeout_seconds == min(seconds, LONGEST)
    assert [row["status"] for row in run(store, "succeed", *specs)] == ["ok", "ok"]
    again = Store(store.root.with_name("stacks"))
    rows = run(again, "succeed", *specs, stack=lambda run: True, stack_worker="tests.helpers.toy_workers:together")
    assert [row["status"] for row in rows] == ["ok", "ok"]


@pytest.mark.long
def test_a_suite_may_set_no_limit_of_time_and_one_of_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("timeout_seconds = inf\n" + SUITE + "[limits]\nmemory_gb = 0.1\n", encoding="utf-8")
    (suite,) = read_suite(str(path))
    assert (suite.timeout_seconds, suite.limits.memory_gb) == (math.inf, 0.1)
    assert main.main(["plan", "--suite", str(path), "--jobs", "1"]) == 0
    path.write_text(SUITE + "[limits]\nmemory = 3\n", encoding="utf-8")
    assert main.main(["plan", "--suite", str(path)]) == 2
    assert "did you mean limits.memory_gb?" in capsys.readouterr().err
    path.write_text("timeout_seconds = -inf\n" + SUITE, encoding="utf-8")
    assert main.main(["plan", "--suite", str(path)]) == 2


def test_memory_counts_with_what_a_run_has_started(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "TICK", 0.1)
    (row,) = run(store, "use_more_memory_than_allowed", toy_spec(memory_gb=0.8))
    assert row["status"] == "oom"
    assert row["reason"].endswith("over its memory limit of 0.8 GB ([limits] memory_gb)")
    (row,) = run(store, "succeed", toy_spec(1, memory_gb=0.8, seconds=0.6))
    assert row["status"] == "ok"


def test_without_a_limit_a_run_has_its_share_of_the_machine(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "TICK", 0.1)
    monkeypatch.setattr("bench.runner.executor.machine_memory", lambda: int(1.6e9))
    monkeypatch.setattr("bench.runner.executor._alone", lambda *arguments: ())  # with the share of all
    (row,) = run(store, "use_more_memory_than_allowed", jobs=2)
    assert row["status"] == "oom"
    assert "over its memory limit of 0.72 GB, 0.9 of the machine's for 2 at a time" in row["reason"]
    assert machine_memory() > 1 << 28


@pytest.mark.parametrize(("seed", "status"), [(0, "ok"), (1, "error"), (2, "killed"), (3, "timeout")])
def test_what_a_run_has_started_ends_with_it(store: Store, seed: int, status: str) -> None:
    limit = 60.0 if seed < 3 else 3.0
    (row,) = run(store, "leave_processes_behind", toy_spec(seed, timeout_seconds=limit))
    assert row["status"] == status
    pids = child_pids(store)
    assert len(pids) == 2
    wait_for(lambda: not any(map(alive, pids)), seconds=2)


def test_a_log_is_cut_at_its_limit_and_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "TICK", 0.1)
    monkeypatch.setattr(child, "LOG_BYTES", 100_000)
    (row,) = run(store, "flood_the_log")
    log = store.attempts()[0].folder / "log.txt"
    assert row["status"] == "ok"
    assert log.stat().st_size < 100_100
    assert log.read_text(encoding="utf-8").endswith("[the log was cut at 100000 bytes]\n")
    assert store.verify() == []
