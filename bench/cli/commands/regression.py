"""`regression`: compares this version with a baseline, another commit or earlier timings."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import (
    Commands,
    Group,
    add_gated,
    add_history,
    add_jobs,
    add_objective,
    baseline_of,
    job_count,
    joined,
    new_parser,
)
from bench.common.errors import UsageError

GROUP = Group.CI


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(
        commands, "regression", "Compare completeness, work and quality of this version with the baseline."
    )
    add_gated(parser)
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE.json",
        help="Baseline to compare with (default: the project's own, for another --suite ebm-baseline.json; "
        "none with --against or --benchmark).",
    )
    parser.add_argument(
        "--against", metavar="REF", help="Compare quality and time with this commit (default: no commit)."
    )
    add_objective(parser, "those of the suite; in the project's own they need --against")
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
    from bench.regression.suite import SUITE, Gated

    jobs = job_count(options)
    if options.self_test:
        if options.suite != SUITE:
            raise UsageError("--self-test measures the project's own gate; every other one tests itself: drop --suite")
        ignored = ("against", "objective", "benchmark", "baseline")
        if given := [f"--{name}" for name in ignored if getattr(options, name)]:
            raise UsageError(f"--self-test compares nothing: drop {', '.join(given)}")
        return gate.self_test(options.rounds, reports=options.report, jobs=jobs)
    alone = options.against is None and not options.benchmark
    return gate.run_gate(
        gate.Request(
            baseline=baseline_of(options) if alone else options.baseline,
            against=options.against,
            of=Gated(options.suite, joined(options.objective)),
            benchmarks=options.benchmark,
            reports=options.report,
            history=options.history,
            jobs=jobs,
        )
    )
