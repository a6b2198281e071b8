"""`submit`: packs an entry of a store into a folder for a pull request."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Commands, Group, add_store, new_parser
from bench.common.exit_codes import GOOD

GROUP = Group.PLUGINS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "submit", "Pack an objective of your own and its rows for a pull request.")
    add_store(parser)
    parser.add_argument(
        "--objective", type=Path, required=True, metavar="FILE.py", help="File of the objective (required)."
    )
    parser.add_argument("--name", default="", help="Name of the submission (default: that of the file).")
    parser.add_argument(
        "--tuned", type=Path, metavar="FILE.csv", help="What `tune` wrote, where settings are tuned (default: none)."
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results/submissions"),
        metavar="DIR",
        help="Folder to write the submission into (default: %(default)s).",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if the entry is not as a submission must be, or the folder cannot be written to.
    """
    from bench.submissions.pack import pack

    folder = pack(options.store, options.objective, options.out, name=options.name, tuned=options.tuned)
    print(f"{folder}: try `check-submission {folder}`, then send it as a pull request")
    return GOOD
