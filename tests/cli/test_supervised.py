"""What ends, crashes or hangs inside a plug-in's function is a sentence, for every command that calls it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.executor_helpers import alive, wait_for

ROOT = Path(__file__).resolve().parents[2]
OBJECTIVE = '''
import ctypes, os, time
from torch import Tensor
from bench.api import Energy, Rng, objective

@objective(label="mine", family="other", minimiser="none", source="this test")
def mine(energy: Energy, x: Tensor, rng: Rng) -> Tensor:
    """E(x)."""
    BODY
    return energy(x)
'''
SUITE = """
name = "mine"
objectives = ["{file}"]
datasets = ["two_moons"]
[budget]
steps = 2
batch = 16
"""


def bench(*words: str, cwd: Path) -> subprocess.Popen[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bench", *words]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def file_with(folder: Path, body: str) -> Path:
    path = folder / "mine.py"
    path.write_text(OBJECTIVE.replace("BODY", body), encoding="utf-8")
    (folder / "mine.toml").write_text(SUITE.format(file=path), encoding="utf-8")
    return path


COMMANDS = {
    "check": ["check", "mine.py"],
    "plan": ["plan", "--suite", "mine.toml", "--seed", "0"],
    "cost": ["cost", "--objective", "mine.py", "--rounds", "6"],
    "audit": ["audit", "--objective", "mine.py", "--jobs", "1"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_function_that_ends_the_process_is_bad_input(command: str, tmp_path: Path) -> None:
    file_with(tmp_path, "os._exit(0)")
    process = bench(*COMMANDS[command], cwd=tmp_path)
    _, error = process.communicate(timeout=120)
    assert process.returncode in (2, 3), error
    assert "Traceback" not in error
    assert "exit code 0" in error


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_function_that_hangs_is_ended_and_its_place_is_named(command: str, tmp_path: Path) -> None:
    path = file_with(tmp_path, "time.sleep(600)")
    began = time.monotonic()
    process = bench(*COMMANDS[command], "--time-limit", "12", cwd=tmp_path)
    _, error = process.communicate(timeout=120)
    assert time.monotonic() - began < 40
    assert process.returncode == 2, error
    assert f"was not done after 12 s and was ended; it was in mine ({path}, line 9)" in error


def test_a_crash_of_a_library_is_a_sentence(tmp_path: Path) -> None:
    file_with(tmp_path, "ctypes.string_at(0)")
    process = bench("check", "mine.py", cwd=tmp_path)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "crashed `check` by SIGSEGV" in error


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)])
def test_the_child_does_not_outlive_what_it_was_started_for(tmp_path: Path, number: signal.Signals) -> None:
    marker = tmp_path / "pid"
    file_with(tmp_path, f"open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    process = bench("check", "mine.py", cwd=tmp_path)
    wait_for(lambda: marker.exists() and bool(marker.read_text(encoding="utf-8")), seconds=60)
    pid = int(marker.read_text(encoding="utf-8"))
    assert alive(pid)
    process.send_signal(number)
    process.communicate(timeout=30)
    wait_for(lambda: not alive(pid), seconds=5)


def test_a_good_plugin_is_checked_as_before(tmp_path: Path) -> None:
    file_with(tmp_path, "pass")
    process = bench("check", "mine.py", "--only", "declaration", cwd=tmp_path)
    output, error = process.communicate(timeout=120)
    assert process.returncode in (0, 2), error
    assert output or "did you mean" in error or "rule" in error
