"""`compare`: compares two stores."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Commands, Group, new_parser
from bench.common.errors import UsageError
from bench.common.exit_codes import GOOD, REGRESSION
from bench.common.references import split_list

GROUP = Group.RESULTS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "compare", "Compare two stores, paired by seed; prints Markdown.")
    parser.add_argument("a", type=Path, metavar="A", help="First store (required).")
    parser.add_argument("b", type=Path, metavar="B", help="Second store (required).")
    parser.add_argument(
        "--fail-on",
        default="",
        metavar="worse,slower,more-work",
        help="Exit with 1 if B is any of these at a cell (default: never).",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if an option is invalid, or one of the stores holds no runs.
    """
    from bench.results import store_comparison

    asked = split_list(options.fail_on)
    if unknown := sorted(set(asked) - set(store_comparison.FAULTS)):
        raise UsageError(f"--fail-on knows {', '.join(store_comparison.FAULTS)}; got '{unknown[0]}'")
    text, faults = store_comparison.judged_stores(options.a, options.b)
    print(text)
    return REGRESSION if any(faults[fault] for fault in asked) else GOOD
