"""`regression`: compares this version with a baseline, another commit or earlier timings."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Commands, Group, add_history, add_jobs, add_objective, job_count, joined, new_parser
from bench.common.paths import BASELINE

GROUP = Group.CI


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(
        commands, "regression", "Compare completeness, work and quality of this version with the baseline."
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE.json",
        help="Baseline to compare with (default: the project's own; none with --against or --benchmark).",
    )
    parser.add_argument(
        "--against", metavar="REF", help="Compare quality and time with this commit (default: no commit)."
    )
    add_objective(parser, "all; needs --against")
    parser.add_argument(
        "--benchmark",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.json",
        help="Compare pytest-benchmark files: before, after; or before, after, after, before (default: none).",
    )
    parser.add_argument(
        "--self-test", action="store_true", help="Measure the error rates of this check instead (default: off)."
    )
    parser.add_argument(
        "--rounds", type=int, default=40, metavar="N", help="Rounds of --self-test (default: %(default)s)."
    )
    parser.add_argument(
        "--report",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.md|.xml|.json",
        help="Also write the outcome to this file; repeatable (default: print only).",
    )
    add_history(parser)
    add_jobs(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if an option is invalid.
    """
    from bench.regression import gate

    jobs = job_count(options)
    if options.self_test:
        return gate.self_test(options.rounds, reports=options.report, jobs=jobs)
    alone = options.against is None and not options.benchmark
    return gate.run_gate(
        gate.Request(
            baseline=options.baseline or (BASELINE if alone else None),
            against=options.against,
            objectives=joined(options.objective),
            benchmarks=options.benchmark,
            reports=options.report,
            history=options.history,
            jobs=jobs,
        )
    )
