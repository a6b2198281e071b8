"""Executions of toy workers, and what they leave behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common.run_spec import RunSpec
from bench.results.store import Store
from bench.runner.executor import execute
from tests.helpers import toy_workers
from tests.helpers.toy_workers import toy_spec

ROOT = Path(__file__).resolve().parents[2]
# without a __main__ guard: what a child runs again, it would say again
SCRIPT = f"""
print("begun")
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.helpers.toy_workers import toy_spec
from bench.runner.executor import execute
from bench.results.store import Store
specs = [toy_spec(seed, seconds=float(sys.argv[4])) for seed in range(int(sys.argv[3]))]
try:
    rows = execute(specs, Store(Path(sys.argv[1])), worker="tests.helpers.toy_workers:" + sys.argv[2], jobs=2)
except KeyboardInterrupt:
    sys.exit(130)
print(*(row["status"] for row in rows))
"""


def run(store: Store, function: str, *specs: RunSpec, **options: Any) -> list[dict[str, Any]]:
    return execute(specs or [toy_spec()], store, worker=f"{toy_workers.__name__}:{function}", **options)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def rows_of(store: Store) -> list[dict[str, Any]]:
    return [row for attempt in store.attempts() if (row := attempt.row()) is not None]


def child_pids(store: Store) -> list[int]:
    return [point["pid"] for attempt in store.attempts() for point in attempt.curve() if "pid" in point]
