"""Runs in a store, made by hand or by another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.results.store import Attempt, Planned, Store
from tests.helpers.toy_workers import toy_spec

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
HEAD = """
import sys, time
from pathlib import Path
from tests.helpers.toy_workers import toy_spec
from bench.results.store import Planned, Store
store = Store(Path(sys.argv[1]))
"""


def planned(seed: int = 0, **changes: Any) -> Planned:
    return Planned.of(toy_spec(seed=seed, **changes))


def finished(root: Path, seed: int = 0, **outcome: Any) -> Attempt:
    attempt = Store(root).begin(planned(seed))
    attempt.append({"step": 1, "loss": 0.5})
    (attempt.folder / "log.txt").write_text("a line\n", encoding="utf-8")
    attempt.finish({"status": "ok", **outcome})
    return attempt


@contextmanager
def another_process(code: str, root: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs the code on the store and gives the process once it has printed a line; killed at the end."""
    command = [sys.executable, "-c", HEAD + code, str(root)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline(), "the other process ended early"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
