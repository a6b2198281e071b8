"""`publish`: adds the rows and figures of a store to the committed results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.cli.options import Commands, Group, add_store, new_parser
from bench.common.errors import UsageError
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
        "--other-seeds",
        action="store_true",
        help="Keep the rows beside the committed ones of the same suite, and show where the words on these seeds "
        "differ (default: the rows are the suite's own).",
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
        UsageError: if the store holds no runs, the folder cannot be written to, or rows of other seeds cannot be
            compared with the committed ones.
    """
    from bench.report.publish import publish, publish_other_seeds, render

    if options.pages_only and options.other_seeds:
        raise UsageError("--pages-only adds no rows, and --other-seeds does; give one of them")
    if options.pages_only:
        changed = render(options.out)
    elif options.other_seeds:
        changed = publish_other_seeds(options.store, options.out)
    else:
        changed, left_out = publish(options.store, options.out)
        for entry, dataset in dict.fromkeys((record.spec.entry, record.dataset) for record in left_out):
            print(f"left as published, where more of its runs are finished: {entry} · {dataset}", file=sys.stderr)
    for path in changed:
        print(path)
    return GOOD
