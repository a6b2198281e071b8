"""`update-baseline`: measures this version and stores it as the baseline."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Commands, Group, add_jobs, job_count, new_parser
from bench.common.exit_codes import GOOD
from bench.common.paths import BASELINE

GROUP = Group.CI


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "update-baseline", "Measure this version and make it the baseline.")
    parser.add_argument("--reason", required=True, help="Why the baseline changes; stored in it (required).")
    parser.add_argument(
        "--baseline",
        type=Path,
        default=BASELINE,
        metavar="FILE.json",
        help="Baseline to write (default: the project's own).",
    )
    add_jobs(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if an option is invalid, a run failed, or the file cannot be written.
    """
    from bench.regression import gate

    gate.update_baseline(options.reason, options.baseline, jobs=job_count(options))
    return GOOD
