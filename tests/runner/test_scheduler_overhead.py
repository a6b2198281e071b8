"""Two hundred workers are kept busy by one supervisor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_to_hand_out_a_run_takes_less_than_50_ms() -> None:
    command = [sys.executable, "scripts/scheduler_overhead.py", "--workers", "200", "--runs", "1000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1000 runs, 200 workers" in done.stdout
