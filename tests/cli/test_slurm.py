"""Array jobs: shards that are the whole, a script that a (fake) Slurm runs, requeues and ends with one store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.common.errors import UsageError
from bench.results.store import Store
from bench.suites.shards import Shard, parse_shard
from tests.helpers.executor_helpers import rows_of, wait_for
from tests.helpers.toy_workers import toy_spec

ROOT = Path(__file__).resolve().parents[2]
SUITE = """
name = "mine"
objectives = ["denoising_score_matching", "contrastive_divergence"]
datasets = ["two_moons"]
seeds = "0-1"
metrics = ["kl"]
[network]
name = "mlp"
width = 8
depth = 1
[budget]
steps = STEPS
batch = 16
[evaluation]
checkpoints = 1
samples = 10
sampler_steps = 2
[limits]
memory_gb = 2
"""
# as Slurm does: reads the directives, and runs the script once for each index of the array
SBATCH = """#!/bin/bash
count=$(sed -n 's/^#SBATCH --array=1-//p' "$1")
for index in $(seq "$count"); do
    SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$index bash "$1" >> "$(dirname "$1")/jobs.txt" 2>&1 || exit 1
done
echo "Submitted batch job 7"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a fake Slurm on the path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("sbatch", SBATCH), ("scontrol", f'#!/bin/bash\necho "$@" >> {tmp_path}/requeued.txt\n')):
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def suite(folder: Path, steps: int) -> Path:
    path = folder / "mine.toml"
    path.write_text(SUITE.replace("STEPS", str(steps)), encoding="utf-8")
    return path


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_the_whole_and_share_nothing(count: int) -> None:
    specs = [toy_spec(seed, name) for name in ("a", "b", "c", "d", "e") for seed in range(3)]
    parts = [Shard(k + 1, count).of(specs) for k in range(count)]
    keys = [(spec.cell_id, spec.seed) for part in parts for spec in part]
    assert sorted(keys) == sorted((spec.cell_id, spec.seed) for spec in specs)
    cells = [{spec.cell_id for spec in part} for part in parts]
    assert sum(map(len, cells)) == 5, "the seeds of a cell stay together"


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "a/b", "1/3/4", "-1/3", "1/9999999"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text)


def test_an_array_of_jobs_fills_one_store(slurm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script, store = slurm / "array.sh", slurm / "store"
    words = ["slurm", "--suite", str(suite(slurm, 3)), "--out", str(store), "--script", str(script), "--shards", "3"]
    assert main.main([*words, "--submit", "--gpus", "1", "--sbatch=--partition=long", "--device", "cpu"]) == 0
    assert "Submitted batch job 7" in capfd.readouterr().out
    text = script.read_text(encoding="utf-8")
    for line in ("--time=24:00:00", "--mem=3G", "--gpus-per-task=1", "--requeue", "--partition=long", "--array=1-3"):
        assert f"#SBATCH {line}\n" in text
    rows = rows_of(Store(store))
    assert [row["status"] for row in rows] == ["ok"] * 4, (slurm / "jobs.txt").read_text(encoding="utf-8")
    assert len(Store(store).planned()) == 4, "the denominator is the whole suite"
    assert not (store / "leaderboard.md").exists()
    assert main.main(["table", str(store)]) == 0


def test_a_job_whose_time_is_over_writes_checkpoints_and_is_requeued(slurm: Path) -> None:
    script, store = slurm / "array.sh", slurm / "store"
    words = ["slurm", "--suite", str(suite(slurm, 100_000)), "--out", str(store), "--script", str(script)]
    assert main.main([*words, "--shards", "4", "--seed", "0"]) == 0
    variables = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1", "EBM_BENCH_CHECKPOINT_SECONDS": "1"}
    job = subprocess.Popen(["bash", str(script)], env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: bool(list(store.rglob("*.checkpoint"))), seconds=90)
    job.send_signal(signal.SIGTERM)  # to the batch script alone, as --signal=B: says
    assert job.wait(timeout=60) == 130
    assert (slurm / "requeued.txt").read_text(encoding="utf-8") == "requeue 7_1\n"
    (row,) = rows_of(Store(store))
    assert row["status"] == "interrupted"
    assert list(store.rglob("*.checkpoint"))
    again = subprocess.Popen(["bash", str(script)], env={**os.environ, **variables}, stderr=subprocess.PIPE)
    wait_for(lambda: any("goes on from" in log.read_text(encoding="utf-8") for log in store.rglob("log.txt")), 90)
    again.send_signal(signal.SIGTERM)
    assert again.wait(timeout=60) == 130


def test_without_slurm_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    words = [sys.executable, "-m", "bench", "slurm", "--suite", str(suite(tmp_path, 3)), "--out", str(tmp_path / "s")]
    done = subprocess.run([*words, "--script", str(tmp_path / "a.sh"), "--submit"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "needs Slurm's sbatch" in done.stderr
