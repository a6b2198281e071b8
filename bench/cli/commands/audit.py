"""`audit`: compares the gradients of objectives with exact ones."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.cli.options import Commands, Group, add_jobs, add_objective, add_time_limit, job_count, joined, new_parser
from bench.common.exit_codes import GOOD, REGRESSION
from bench.common.paths import default_store

GROUP = Group.MEASUREMENT


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "audit", "Measure bias, noise and cost of gradients against exact ones.")
    add_objective(parser, "all")
    parser.add_argument(
        "--out",
        type=Path,
        default=default_store() / "audit",
        metavar="DIR",
        help="Folder to write tables and plots into (default: %(default)s).",
    )
    add_jobs(parser)
    add_time_limit(parser, 14400)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if an option is invalid.
    """
    from bench.audit import gradient_audit, report
    from bench.common.duration import duration
    from bench.plugins import registry

    jobs = job_count(options) or len(os.sched_getaffinity(0))
    refs = list(joined(options.objective) or registry.names("objectives"))
    for ref in refs:
        registry.find("objectives", ref)  # a mistake in any is reported before work on the first
    began = time.monotonic()
    print(f"{len(refs)} objectives, {jobs} in parallel, into {options.out}", file=sys.stderr)
    settings = gradient_audit.Settings()
    lines = gradient_audit.audit_gradients(refs, settings, jobs, _progress(len(refs)))
    findings = report.write_audit(lines, gradient_audit.family(refs, settings, jobs), options.out)
    for finding in findings:
        print(f"- {finding.sentence}")
    print(f"{duration(time.monotonic() - began)}; tables and plots: {options.out / 'audit.md'}", file=sys.stderr)
    return REGRESSION if any(finding.broken for finding in findings) else GOOD


def _progress(total: int) -> Callable[[str], None]:
    from bench.common.duration import duration

    began, done = time.monotonic(), list[str]()

    def on_progress(objective: str) -> None:
        done.append(objective)
        left = (time.monotonic() - began) / len(done) * (total - len(done))
        print(f"[{len(done)}/{total}] {objective}   (left: {duration(left)})", file=sys.stderr, flush=True)

    return on_progress
