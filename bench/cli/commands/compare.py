"""`compare`: compares two stores."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Commands, Group, new_parser
from bench.common.exit_codes import GOOD

GROUP = Group.RESULTS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "compare", "Compare two stores, paired by seed; prints Markdown.")
    parser.add_argument("a", type=Path, metavar="A", help="First store (required).")
    parser.add_argument("b", type=Path, metavar="B", help="Second store (required).")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if one of the stores holds no runs.
    """
    from bench.results import store_comparison

    print(store_comparison.stores_markdown(options.a, options.b))
    return GOOD
