"""The suite that is gated: measured into a fresh store, in this tree or in another; margins and what is planted."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.common.exit_codes import FAILED
from bench.common.git import run_git
from bench.common.paths import PACKAGE, ROOT, SUITES
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


@dataclass(frozen=True)
class Gated:
    """What is gated: the project's own objectives, or a suite of anybody's with what it names.

    Attributes:
        suite: a name or a TOML file, as `run` takes it.
        objectives: references in place of the suite's own.
    """

    suite: str = SUITE
    objectives: tuple[str, ...] | None = None

    @property
    def own(self) -> bool:
        """Whether it is the project's own suite, so that the harness is what is compared."""
        return self.suite == SUITE

    @property
    def file(self) -> Path:
        """The suite's file, by a path that means the same from everywhere."""
        return Path(self.suite).resolve() if self.suite.endswith(".toml") else SUITES / f"{self.suite}.toml"

    @property
    def name(self) -> str:
        """What the suite calls itself.

        Raises:
            UsageError: if it cannot be read, or stands for several.
        """
        suites = schema.read_suite(self.suite)
        if len(suites) > 1:
            names = ", ".join(suite.name for suite in suites)
            raise UsageError(f"a gate compares one suite; '{self.suite}' includes {names}: gate one of them")
        return suites[0].name

    @property
    def options(self) -> str:
        """How a person named it on the command line, with a space before; "" for the project's own."""
        chosen = "".join(f" --objective {shlex.quote(ref)}" for ref in self.objectives or ())
        return "" if self.own else f" --suite {shlex.quote(self.suite)}{chosen}"

    @property
    def folder(self) -> Path:
        """Where references to files are read from, in the repository that is gated."""
        return ROOT if self.own else Path.cwd()

    @property
    def root(self) -> Path:
        """The repository that is gated.

        Raises:
            UsageError: if there is none.
        """
        if self.own:
            return ROOT
        found = run_git("rev-parse", "--show-toplevel", folder=self.folder)
        if found.returncode:
            raise UsageError(
                f"--against compares commits of a git repository; '{self.folder}' lies in none: cd into it"
            )
        return Path(found.stdout.strip())


OWN = Gated()


@dataclass(frozen=True)
class Tree:
    """A version: the folder in which it is run, and which program runs it.

    Attributes:
        refs: what its objectives are called there, by the names of those compared; a name stands for itself.
        code: the folder of the package that runs it; None if that is its own.
    """

    folder: Path
    refs: Mapping[str, str] = field(default_factory=dict)
    code: Path | None = None

    def ref(self, name: str) -> str:
        """What an objective is called there."""
        return self.refs.get(name, name)

    @property
    def environment(self) -> dict[str, str]:
        """Of its processes; a folder called bench of somebody else's must not take the program's place."""
        path = [] if self.code is None else [str(self.code)]
        return {**os.environ, "PYTHONPATH": os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])])}


def measure_suite(
    out: Path,
    *,
    jobs: int | None,
    objectives: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    of: Gated = OWN,
) -> Baseline:
    """The suite, or some objectives and seeds in its setting, run into a fresh store."""
    specs = planned(objectives, seeds, of)
    store = Store(out)
    with show_progress(len(specs), store) as on_event:
        execute(specs, store, jobs=jobs or workers(specs), worker=WORKER, on_event=on_event)
    return baseline.measured_baseline(records.read_records(store), of.name, of.suite)


def planned(
    objectives: Sequence[str] | None = None, seeds: Sequence[int] | None = None, of: Gated = OWN
) -> list[RunSpec]:
    """The suite's runs, or those of some objectives and seeds; other objectives than its own on its first data set.

    Raises:
        UsageError: if there is no such objective.
    """
    suites = schema.read_suite(of.suite)
    selection = expand.Selection(
        of.objectives if objectives is None else tuple(objectives),
        None if objectives is None or of.own else suites[0].datasets[:1],
        None if seeds is None else tuple(seeds),
    )
    return expand.plan_runs(suites, selection, "cpu")


def run_elsewhere(
    tree: Tree, objectives: Collection[str], seeds: range, out: Path, jobs: int | None, of: Gated = OWN
) -> None:
    """The suite's setting in the code of another tree.

    Raises:
        UsageError: if that version cannot run the suite.
    """
    command = [sys.executable, *([] if tree.code is None else ["-P"]), "-m", "bench", "run", "--suite", str(of.file)]
    for name in objectives:
        command += ["--objective", tree.ref(name)]
    command += ["--seed", f"{seeds[0]}-{seeds[-1]}", "--out", str(out), "--device", "cpu"]
    command += ["--jobs", str(jobs)] if jobs else []
    done = subprocess.run(command, cwd=tree.folder, env=tree.environment, check=False, stdout=subprocess.DEVNULL)
    if done.returncode not in (0, FAILED):
        raise UsageError(
            f"the version in '{tree.folder}' cannot run the gate's suite: exit code {done.returncode}; see above"
        )


def settings() -> dict[str, Any]:
    """The gate's margins and what its self-test plants."""
    return tomllib.loads((FAULTS / "gate.toml").read_text(encoding="utf-8"))


def reference(injected: str) -> str:
    """What is injected as the command line names it: a file by its whole path."""
    return str(FAULTS / injected) if injected.endswith(".py") else injected
