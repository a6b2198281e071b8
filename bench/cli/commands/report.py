"""`report`: writes a store as one HTML page, and its tables and figures for a paper."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Commands, Group, add_store, new_parser
from bench.common.exit_codes import GOOD

GROUP = Group.RESULTS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "report", "Write the leaderboard as one self-contained HTML file.")
    add_store(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("page.html"),
        metavar="FILE.html",
        help="File to write (default: %(default)s).",
    )
    parser.add_argument(
        "--export",
        type=Path,
        metavar="DIR",
        help="Also write tables as CSV, Markdown and LaTeX, figures as SVG and PDF (default: HTML only).",
    )
    parser.add_argument(
        "--all-columns",
        action="store_true",
        help="Write LaTeX tables with every column (default: at most 8, which fit a page).",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if the store holds no runs, or a file cannot be written.
    """
    from bench.report import export
    from bench.report.html import page

    page.write_page(options.store, options.out)
    print(options.out)
    if options.export is not None:
        export.export_tables(options.store, options.export, all_columns=options.all_columns)
        print(options.export)
    return GOOD
