"""The gate's suite: measured into a fresh store, in this tree or in another; its margins and what it plants."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from bench import baseline, spec, table
from bench.baseline import Baseline
from bench.errors import UsageError
from bench.execute import execute
from bench.session import FAILED, WORKER, Progress, workers
from bench.spec import RunSpec
from bench.store import Store

NAME = "gate"
FILE = spec.SUITES / f"{NAME}.toml"
ROOT = Path(__file__).resolve().parent.parent


def measure(
    out: Path, *, jobs: int | None, objectives: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> Baseline:
    """The suite, or some objectives and seeds in its setting, run into a fresh store."""
    specs = planned(objectives, seeds)
    execute(specs, Store(out), jobs=jobs or workers(specs), worker=WORKER, on_event=Progress())
    return baseline.measured(table.read(Store(out)), NAME)


def planned(objectives: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> list[RunSpec]:
    """The suite's runs, or those of some objectives and seeds.

    Raises:
        UsageError: if there is no such objective.
    """
    chosen, at = (None if given is None else tuple(given) for given in (objectives, seeds))
    return spec.expand(spec.read_suite(NAME), spec.Selection(objectives=chosen, seeds=at), "cpu")  # type: ignore[arg-type]


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
    return tomllib.loads((ROOT / "bench" / "planted" / "gate.toml").read_text())


def reference(planted: str) -> str:
    """What is planted as the command line names it: a file by its whole path."""
    return str(ROOT / planted) if planted.endswith(".py") else planted
