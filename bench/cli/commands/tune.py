"""`tune`: chooses learning rate and hyper-parameters for each objective and data set of a suite."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import Commands, Group, add_plan, job_count, new_parser, planned_runs
from bench.common.exit_codes import GOOD
from bench.common.paths import default_store, results_folder

if TYPE_CHECKING:
    from bench.common.run_spec import RunSpec

GROUP = Group.TRAIN


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(
        commands,
        "tune",
        "Choose learning rates and hyper-parameters on validation data, at the same cost for every objective.",
    )
    add_plan(parser)
    parser.add_argument(
        "--out", type=Path, default=default_store(), metavar="DIR", help="Store of the trials (default: %(default)s)."
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE.csv",
        help="Add the chosen settings to this file (default: tuning/SUITE.csv in the results folder).",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if an option is invalid, nothing is left to tune, or the store is in use.
        KeyboardInterrupt: on an interrupt; the same command goes on with the trials that are there.
    """
    from bench.results.store import Store
    from bench.runner import progress
    from bench.runner.executor import execute
    from bench.suites.schema import read_suite
    from bench.suites.tuned import write_tuned
    from bench.tuning.search import tunable, tune, work

    specs = planned_runs(options)
    jobs = job_count(options) or progress.workers(specs)

    def executed(runs: Sequence[RunSpec]) -> list[Mapping[str, Any]]:
        with progress.show_progress(len(runs), Store(options.out)) as on_event:
            return execute(
                runs,
                Store(options.out),
                jobs=jobs,
                worker=progress.WORKER,
                on_event=on_event,
                stack=progress.stackable,
            )

    for suite in read_suite(options.suite):
        cells = {(s.objective.label, s.dataset.label, s.role): s for s in specs if s.suite == suite.name}
        path = options.settings or results_folder() / "tuning" / f"{suite.name}.csv"
        budget = replace(suite.tuning, seeds=",".join(options.seed)) if options.seed else suite.tuning
        (runs, budgets), count = work(budget), len(tunable(list(cells.values())))
        print(f"tuning {count} cells: {runs} runs each, as long as {budgets:g} of the suite's", file=sys.stderr)
        chosen = tune(list(cells.values()), budget, executed)
        write_tuned(chosen, path)
        for line in chosen:
            values = f"{line.criterion}: {line.default_value:.4g} by default, {line.tuned_value:.4g} tuned"
            print(f"{line.label} · {line.dataset}: {values} (lr {line.lr:.3g})")
        print(f"settings: {path}; use them with `run --suite {options.suite} --tuned {path}`", file=sys.stderr)
    return GOOD
