"""What it costs to hand out a run: a simulated cluster of many workers, whose runs take no time at all.

    python scripts/scheduler_overhead.py --workers 200

Everything but the run is real: leases, intents, rows with their hashes, the index, joblib's hand-out to as many
supervisors as there are workers. The child is replaced by one that answers at once. Printed: milliseconds of the
scheduler's wall clock and processor a run; under 50 ms it keeps 200 workers busy with runs of ten seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from bench.common.run_spec import BudgetSpec, DatasetSpec, NetworkSpec, ObjectiveSpec, RunSpec
from bench.results.store import Store
from bench.runner import child
from bench.runner.executor import execute

LIMIT = 50.0  # milliseconds a run


def main() -> int:
    """Measures and prints; returns 0 if a run costs less than `LIMIT`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=200, help="Workers (default: %(default)s).")
    parser.add_argument("--runs", type=int, default=2000, help="Runs (default: %(default)s).")
    options = parser.parse_args()
    specs = [_spec(k) for k in range(options.runs)]
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(child, "watched", _at_once):
        wall, cpu = time.perf_counter(), time.process_time()
        rows = execute(specs, Store(Path(folder)), jobs=options.workers)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert {row["status"] for row in rows} == {"ok"}
    each, busy = 1e3 * wall / options.runs, 1e3 * cpu / options.runs
    print(
        f"{options.runs} runs, {options.workers} workers: {each:.1f} ms a run on the wall, {busy:.1f} of the processor"
    )
    return int(each >= LIMIT)


def _spec(k: int) -> RunSpec:
    objective = ObjectiveSpec(name=f"objective{k % 20}", label=f"objective{k % 20}")
    return RunSpec(
        suite="simulated",
        objective=objective,
        dataset=DatasetSpec(name="line", label="line"),
        network=NetworkSpec(name="mlp", label="mlp"),
        budget=BudgetSpec(),
        seed=k // 20,
    )


def _at_once(specs: Sequence[dict[str, Any]], *rest: object) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    about = {"status": "ok", "phase": "done", "last_step": 1}
    return [{**about, "metrics": {"kl": {"last": {"value": float(spec["seed"])}}}} for spec in specs], {}


if __name__ == "__main__":
    sys.exit(main())
