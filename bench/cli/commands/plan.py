"""`plan`: predicts the cost of a suite, or compares predictions with completed runs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import Commands, Group, add_plan, add_time_limit, add_tuned, job_count, new_parser, planned_runs
from bench.common.errors import UsageError
from bench.common.exit_codes import GOOD, REGRESSION

if TYPE_CHECKING:
    from bench.common.run_spec import RunSpec

GROUP = Group.TRAIN


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "plan", "List the runs of a suite and predict their cost.")
    add_plan(parser)
    add_tuned(parser)
    parser.add_argument(
        "--compare-with",
        type=Path,
        metavar="STORE",
        help="Compare predicted costs with the completed runs of this store (default: no comparison).",
    )
    parser.add_argument(
        "--gpu-tflops",
        type=float,
        default=10.0,
        metavar="X",
        help="What a GPU is taken to sustain, in TFLOP/s, where a plan is one for a GPU (default: 10).",
    )
    add_time_limit(parser, 3600)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if an option is invalid, or the store has no completed run of the plan.
    """
    if not 0 < options.gpu_tflops < math.inf:
        raise UsageError(f"--gpu-tflops must be a positive number; got {options.gpu_tflops:g}")
    specs = planned_runs(options)
    if options.compare_with is not None:
        return print_accuracy(specs, options.compare_with)
    _print_costs(specs, job_count(options), options.gpu_tflops)
    return GOOD


def _print_costs(specs: Sequence[RunSpec], jobs: int | None, tflops: float) -> None:
    from rich.console import Console
    from rich.progress import track

    from bench.costs.estimate import estimate_costs
    from bench.costs.plan_table import plan_markdown
    from bench.runner.progress import workers

    error = Console(stderr=True)
    # the evaluation of image samplers takes a minute to time
    timed = track(specs, "timing steps and evaluations", console=error, transient=True, disable=not error.is_terminal)
    print(plan_markdown(specs, estimate_costs(timed), jobs or workers(specs), tflops))


def print_accuracy(specs: Sequence[RunSpec], root: Path) -> int:
    """Prints predicted beside measured costs of the completed runs of a store; returns the exit code.

    Raises:
        UsageError: if the store has no completed run of the plan.
    """
    from bench.costs import estimate_accuracy
    from bench.costs.estimate import estimate_costs
    from bench.results.store import Store
    from bench.runner.worker_process import processor

    store = Store(root)
    compared = estimate_accuracy.compare_estimates(specs, store, estimate_costs)
    print(estimate_accuracy.accuracy_markdown(compared, estimate_accuracy.elsewhere(store, processor()), processor()))
    return REGRESSION if estimate_accuracy.unequal(compared) else GOOD
