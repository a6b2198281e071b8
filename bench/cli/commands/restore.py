"""`restore`: makes a store from committed rows, so that `run` goes on where another machine left a suite."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Commands, Group, new_parser
from bench.common.exit_codes import GOOD
from bench.common.paths import default_store

GROUP = Group.TRAIN


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "restore", "Fill a store from committed rows; `run` then completes the suite.")
    parser.add_argument("rows", type=Path, metavar="FILE.csv", help="Rows that `publish` wrote (required).")
    parser.add_argument(
        "--out", type=Path, default=default_store(), metavar="DIR", help="Store to write into (default: %(default)s)."
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if the file holds no rows, or the store cannot be written to or is in use.
    """
    from bench.results.committed_rows import read_rows
    from bench.results.restore import restore
    from bench.results.store import Store

    records = read_rows(options.rows)
    written = restore(records, Store(options.out), options.rows.name)
    print(f"{written} of {len(records)} runs restored into {options.out}")
    return GOOD
