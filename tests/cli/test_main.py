"""The command line as a person uses it: exit codes, one clear line for bad input, resuming, what is written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from bench.cli import main

ROOT = Path(__file__).resolve().parents[2]
TINY = """
name = "tiny"
objectives = ["denoising_score_matching", "energy_discrepancy", "maximum_likelihood"]
datasets = ["eight_gaussians", "digits"]
seeds = "0-1"
metrics = ["kl", "nll"]

[network]
name = "mlp"
width = 8

[budget]
steps = 60
batch = 16

[evaluation]
checkpoints = 2
samples = 64

[data]
n_train = 256
n_valid = 256
n_test = 256
"""
FAILING = '''
from torch import Tensor
from bench.api import Energy, Rng, objective

@objective(family="test", source="this test", control=CONTROL)
def failing(energy: Energy, x: Tensor, rng: Rng) -> Tensor:
    """0 · E(x) / 0."""
    return energy(x) * float("nan")
'''


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


def bench(*arguments: object) -> int:
    return main.main([str(a) for a in arguments])


def columns_that_do_not_depend_on_the_clock(store: Path) -> pd.DataFrame:
    table = pd.read_csv(store / "results.csv")
    return table.drop(columns=["train_seconds", "peak_memory_mb"])


def test_a_run_writes_its_tables_and_running_again_only_resumes(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert bench("run", "--suite", tiny, "--out", out, "--jobs", 2) == 0
    first = columns_that_do_not_depend_on_the_clock(out)
    assert len(first) == 12
    assert set(first["status"]) == {"ok", "skipped"}
    assert first.loc[first["dataset"] == "eight_gaussians", "kl_best"].notna().all()
    assert "maximum_likelihood needs events" in (out / "leaderboard.md").read_text(encoding="utf-8")
    assert list((out / "plots").glob("*.png"))
    rows = {path: path.stat().st_mtime_ns for path in out.rglob("row.json")}
    assert bench("run", "--suite", tiny, "--out", out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("row.json")} == rows
    pd.testing.assert_frame_equal(columns_that_do_not_depend_on_the_clock(out), first)


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.long)])
def test_a_killed_suite_ends_in_the_same_table(kills: int, tiny: Path, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert bench("run", "--suite", tiny, "--out", whole, "--jobs", 2) == 0
    command = [sys.executable, "-m", "bench", "run", "--suite", str(tiny), "--out", str(torn), "--jobs", "2"]
    finished: dict[Path, int] = {}
    moment = random.Random(0)
    for _ in range(kills):
        group = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + moment.uniform(3, 9)
        while time.monotonic() < deadline and group.poll() is None:
            time.sleep(0.05)
        if group.poll() is None:
            os.killpg(group.pid, signal.SIGKILL)
        group.wait()
        before, finished = finished, {p: p.stat().st_mtime_ns for p in torn.rglob("row.json")}
        assert before.items() <= finished.items()
    assert subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert finished.items() <= {p: p.stat().st_mtime_ns for p in torn.rglob("row.json")}.items()
    pd.testing.assert_frame_equal(
        columns_that_do_not_depend_on_the_clock(torn), columns_that_do_not_depend_on_the_clock(whole)
    )


@pytest.mark.parametrize(("control", "code"), [(False, 3), (True, 0)])
def test_failed_cells_are_exit_code_3_unless_they_are_controls(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], control: bool, code: int
) -> None:
    plugin = tmp_path / "failing.py"
    plugin.write_text(FAILING.replace("CONTROL", str(control)), encoding="utf-8")
    options = ("--objective", plugin, "--dataset", "eight_gaussians", "--seed", 0)
    assert bench("run", "--suite", tiny, "--out", tmp_path / "out", *options) == code
    assert "diverged: the loss is not finite at step 1" in capsys.readouterr().err
    assert "diverged at 1" in (tmp_path / "out" / "leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--suite", "toy3d"), "unknown suite 'toy3d': did you mean toy2d"),
        (("run", "--suite", "smoke", "--objective", "contrastive_divergense"), "did you mean contrastive_divergence"),
        (("run", "--suite", "smoke", "--dataset", "two_mons"), "did you mean two_moons"),
        (("run", "--suite", "all", "--dataset", "two_spirls"), "did you mean two_spirals"),
        (("run", "--suite", "smoke", "--device", "gpu"), "device must be auto, cpu, cuda or cuda:N; got 'gpu'"),
        (("run", "--suite", "smoke", "--seed", "a"), "seeds are written like 0-4"),
        (("run", "--suite", "smoke", "--jobs", "0"), "--jobs must be at least 1; got 0"),
        (("run", "--suite", "smoke", "--objective", "denoising_score_matching[sigma=90]"), "must lie in [0.001, 10]"),
        (("run", "--suite", "nowhere.toml"), "there is no file 'nowhere.toml'"),
        (("run", "--suite", "smoke", "--objective", "nowhere.py"), "there is no file 'nowhere.py'"),
        (("table", "nowhere"), "No runs in nowhere; run a suite with --out nowhere."),
        (("list", "things"), "unknown kind 'things': known: objectives"),
        (("show", "contrastive"), "unknown name 'contrastive'"),
        (("show", "nowhere.toml"), "cannot read suite 'nowhere.toml'"),
        (("verify", "nowhere"), "No runs in nowhere; run a suite with --out nowhere."),
        (("verdict", "nowhere"), "No suite with a question or a reference in 'nowhere'"),
        (("cost", "--scaling", "--overhead"), "exclude each other"),
        (("cost", "--scaling", "--network", "mlp"), "have networks and batches of their own"),
        (("regression", "--self-test", "--against", "HEAD"), "compares nothing: drop --against"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert bench(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_output_path_that_is_a_file_is_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("run", "--suite", tiny, "--out", tiny) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_plan_names_every_run_and_its_price(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("plan", "--suite", tiny) == 0
    printed = capsys.readouterr().out
    assert "12 runs, 2 of them skipped" in printed
    assert "energy_discrepancy" in printed
    assert "GFLOPs" in printed


def test_doctor_reports_versions_and_hardware(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("doctor") == 0
    facts = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert {"python", "cores", "memory", "torch", "processor"} <= facts


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"'{sys.executable}' -m bench show contrastive_divergence | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
