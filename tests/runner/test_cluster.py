"""A Dask cluster of real processes: a scheduler and two workers, one of which is killed while it trains."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.common.errors import UsageError
from bench.results.store import Planned, Store
from bench.runner.cluster import on_cluster
from bench.runner.executor import execute
from tests.helpers.executor_helpers import wait_for
from tests.helpers.store_helpers import ROOT
from tests.helpers.toy_workers import toy_spec

pytest.importorskip("distributed")


def started(*arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        process.kill()
        process.wait()


def cluster(processes: list[subprocess.Popen[bytes]], workers: int) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    processes.append(
        started("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show")
    )
    for _ in range(workers):
        processes.append(started("dask_worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard"))
    if workers:
        deadline = time.monotonic() + 60
        while True:
            try:
                with on_cluster(address) as threads:
                    if threads == workers:
                        return address
            except UsageError:
                assert time.monotonic() < deadline
            time.sleep(0.2)
    return address


def test_the_way_to_a_cluster_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "run",
        "--suite",
        "smoke",
        "--seed",
        "0",
        "--out",
        str(tmp_path),
        "--objective",
        "contrastive_divergence",
    ]
    assert main([*command, "--backend", "dask"]) == 2
    assert "--backend dask and --scheduler ADDRESS go together" in capsys.readouterr().err
    assert main([*command, "--scheduler", "tcp://127.0.0.1:1"]) == 2
    with pytest.raises(UsageError, match="no Dask scheduler answers at 'nonsense://x'"), on_cluster("nonsense://x"):
        pass


@pytest.mark.long
def test_a_worker_that_is_killed_costs_its_run_one_more_attempt(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    address = cluster(processes, 2)
    specs, store = [toy_spec(seed, seconds=3.0) for seed in range(6)], Store(tmp_path / "store")
    code = (
        "import sys; from pathlib import Path\n"
        "from bench.results.store import Store; from bench.runner.cluster import on_cluster\n"
        "from bench.runner.executor import execute; from tests.helpers.toy_workers import toy_spec\n"
        "specs = [toy_spec(seed, seconds=3.0) for seed in range(6)]\n"
        f"with on_cluster({address!r}) as n:\n"
        f"    execute(specs, Store(Path({str(store.root)!r})), jobs=n, worker='tests.helpers.toy_workers:succeed')\n"
    )
    client = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    processes.append(client)
    wait_for(lambda: sum((a.folder / "curve.jsonl").exists() for a in store.attempts()) >= 2, seconds=90)
    lost = processes[2]
    lost.kill()
    lost.wait()
    assert client.wait(timeout=180) == 0
    statuses = {}
    for spec in specs:
        statuses[spec.seed] = [row["status"] for row in store.rows_of(Planned.of(spec))]
    assert all(found[-1] == "ok" and found.count("ok") == 1 for found in statuses.values()), statuses
    assert sorted(map(len, statuses.values())) == [1, 1, 1, 1, 1, 2], statuses
    assert [s for found in statuses.values() for s in found].count("killed") == 1
    assert store.verify() == []
    again = execute(specs, store, worker="tests.helpers.toy_workers:kill_itself")
    assert {row["status"] for row in again} == {"ok"}


@pytest.mark.long
def test_a_suite_is_run_on_a_cluster(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    address = cluster(processes, 1)
    command = ["run", "--suite", "smoke", "--seed", "0", "--out", str(tmp_path / "store")]
    command += ["--objective", "contrastive_divergence,denoising_score_matching", "--dataset", "two_moons"]
    assert main([*command, "--backend", "dask", "--scheduler", address]) == 0
    assert {a.row()["status"] for a in Store(tmp_path / "store").attempts()} == {"ok"}  # type: ignore[index]
