"""The gate's suite: measured into a fresh store, in this tree or in another; its margins and what it plants."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.common.exit_codes import FAILED
from bench.common.paths import PACKAGE, SUITES
from bench.common.run_spec import RunSpec
from bench.regression import baseline
from bench.regression.baseline import Baseline
from bench.results import records
from bench.results.store import Store
from bench.runner.executor import execute
from bench.runner.progress import WORKER, show_progress, workers
from bench.suites import expand, schema

SUITE = "gate"
FAULTS = PACKAGE / "regression" / "faults"
FILE = SUITES / f"{SUITE}.toml"


def measure_suite(
    out: Path, *, jobs: int | None, objectives: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> Baseline:
    """The suite, or some objectives and seeds in its setting, run into a fresh store."""
    specs = planned(objectives, seeds)
    with show_progress(len(specs)) as on_event:
        execute(specs, Store(out), jobs=jobs or workers(specs), worker=WORKER, on_event=on_event)
    return baseline.measured_baseline(records.read_records(Store(out)), SUITE)


def planned(objectives: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> list[RunSpec]:
    """The suite's runs, or those of some objectives and seeds.

    Raises:
        UsageError: if there is no such objective.
    """
    chosen, at = (None if given is None else tuple(given) for given in (objectives, seeds))
    return expand.plan_runs(schema.read_suite(SUITE), expand.Selection(objectives=chosen, seeds=at), "cpu")  # type: ignore[arg-type]


def run_elsewhere(tree: Path, objectives: Collection[str], seeds: range, out: Path, jobs: int | None) -> None:
    """The same in the code of another tree.

    Raises:
        UsageError: if that version cannot run the suite.
    """
    command = [sys.executable, "-m", "bench", "run", "--suite", str(FILE), "--objective", ",".join(objectives)]
    command += ["--seed", f"{seeds[0]}-{seeds[-1]}", "--out", str(out), "--device", "cpu"]
    command += ["--jobs", str(jobs)] if jobs else []
    code = subprocess.run(command, cwd=tree, check=False, stdout=subprocess.DEVNULL).returncode
    if code not in (0, FAILED):
        raise UsageError(f"the version in '{tree}' cannot run the gate's suite: exit code {code}; see above")


def settings() -> dict[str, Any]:
    """The gate's margins and what its self-test plants."""
    return tomllib.loads((FAULTS / "gate.toml").read_text(encoding="utf-8"))


def reference(injected: str) -> str:
    """What is injected as the command line names it: a file by its whole path."""
    return str(FAULTS / injected) if injected.endswith(".py") else injected
