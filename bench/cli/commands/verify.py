"""`verify`: checks the hashes of a store."""

from __future__ import annotations

import argparse
import sys

from bench.cli.options import Commands, Group, add_store, new_parser
from bench.common.errors import no_runs
from bench.common.exit_codes import FAILED, GOOD

GROUP = Group.RESULTS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(
        commands, "verify", "Find files of a store that were changed or deleted after they were written."
    )
    add_store(parser)
    parser.add_argument(
        "--rerun",
        type=int,
        metavar="N",
        help="Also run N random completed runs again and compare their numbers (default: none).",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if the store is a file, or a folder that is no store, or no run can be run again.
    """
    from bench.results.store import Store

    store = Store(options.store)
    problems = store.verify()
    if not problems and not store.attempts():
        raise no_runs(options.store)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} changed or deleted files", file=sys.stderr)
    if options.rerun is not None and not problems:
        from bench.runner.rerun import rerun

        lines, wrong = rerun(store, options.rerun)
        print("\n".join(lines))
        print(f"{wrong} of {len(lines)} runs came out otherwise", file=sys.stderr)
        return FAILED if wrong else GOOD
    return FAILED if problems else GOOD
