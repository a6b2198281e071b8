"""`update-baseline`: measures this version and stores it as the baseline."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import (
    Commands,
    Group,
    add_gated,
    add_jobs,
    add_objective,
    baseline_of,
    job_count,
    joined,
    new_parser,
)
from bench.common.errors import UsageError
from bench.common.exit_codes import GOOD

GROUP = Group.CI


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "update-baseline", "Measure this version and make it the baseline.")
    parser.add_argument("--reason", required=True, help="Why the baseline changes; stored in it (required).")
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE.json",
        help="Baseline to write (default: the project's own, or ebm-baseline.json for another --suite).",
    )
    add_gated(parser)
    add_objective(parser, "those of the suite")
    add_jobs(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if an option is invalid, a run failed, or the file cannot be written.
    """
    from bench.regression import gate
    from bench.regression.suite import Gated

    of = Gated(options.suite, joined(options.objective))
    if of.own and of.objectives is not None:
        raise UsageError("the project's own baseline holds every objective; drop --objective, or give a --suite")
    gate.update_baseline(options.reason, baseline_of(options), jobs=job_count(options), of=of)
    return GOOD
