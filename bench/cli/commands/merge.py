"""`merge`: makes one store of several, such as those of the jobs of an array."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.cli.options import Commands, Group, new_parser
from bench.common.exit_codes import FAILED, GOOD
from bench.common.paths import default_store

GROUP = Group.RESULTS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "merge", "Copy the runs of stores into one; duplicates are known by identity.")
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE", help="Stores to copy from (required).")
    parser.add_argument(
        "--out", type=Path, default=default_store(), metavar="DIR", help="Store to copy into (default: %(default)s)."
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code: 3 if runs of one identity have different numbers.

    Raises:
        UsageError: if a store holds no runs or is damaged, or the target cannot be written to.
    """
    from bench.results.merge import merge

    merged = merge(options.stores, options.out)
    for conflict in merged.conflicts:
        print(f"conflict: {conflict}")
    print(
        f"{merged.added} runs added to {options.out}; {merged.duplicates} duplicates, {merged.superseded} failed tries "
        f"of completed runs and {len(merged.conflicts)} conflicts left out",
        file=sys.stderr,
    )
    return FAILED if merged.conflicts else GOOD
