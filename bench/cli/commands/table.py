"""`table`: writes the tables and plots of a store, or updates those of a Markdown page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.cli.options import Commands, Group, add_store, new_parser
from bench.common.exit_codes import GOOD

GROUP = Group.RESULTS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "table", "Write the tables, plots and leaderboard of a store.")
    add_store(parser)
    parser.add_argument(
        "--update-page",
        type=Path,
        metavar="FILE.md",
        help="Update the marked tables of this page instead (default: write into the store).",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="Write them even if the same rows have made them before (default: only what is out of date).",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if the store holds no runs, or the page cannot be updated.
    """
    from bench.report.markdown import blocks
    from bench.report.store_pages import write_store_pages
    from bench.results.records import read_records
    from bench.results.store import Store

    if options.update_page is None:
        write_store_pages(options.store, again=options.again)
        return GOOD
    for sentence in blocks.refresh_page(options.update_page, read_records(Store(options.store))):
        print(sentence, file=sys.stderr)
    return GOOD
