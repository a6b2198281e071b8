"""`publish`: adds the rows and figures of a store to the committed results."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Commands, Group, add_store, new_parser
from bench.common.exit_codes import GOOD
from bench.common.paths import results_folder

GROUP = Group.RESULTS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "publish", "Add the rows of a store to a results folder and render its pages.")
    add_store(parser)
    parser.add_argument(
        "--pages-only",
        action="store_true",
        help="Only render the pages again (default: add the rows of STORE first).",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=results_folder(),
        metavar="DIR",
        help="Results folder to write into (default: %(default)s).",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the files that changed; returns the exit code.

    Raises:
        UsageError: if the store holds no runs, or the folder cannot be written to.
    """
    from bench.report.publish import publish, render

    for path in render(options.out) if options.pages_only else publish(options.store, options.out):
        print(path)
    return GOOD
