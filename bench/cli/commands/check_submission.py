"""`check-submission`: validates what `submit` packed, and runs some of it again."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Commands, Group, new_parser
from bench.common.exit_codes import FAILED, GOOD

GROUP = Group.PLUGINS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "check-submission", "Validate a submission and run some of its rows again.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="Submission to check (required).")
    parser.add_argument(
        "--rerun",
        default="1",
        metavar="N|all",
        help="Random rows to run again; all marks it as verified (default: %(default)s).",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if the folder is no submission, or an option is invalid.
    """
    from bench.submissions.verify import check_submission, parsed_count

    faults, lines = check_submission(options.folder, parsed_count(options.rerun))
    print("\n".join([*(f"pass  {line}" for line in lines), *(f"FAIL  {fault}" for fault in faults)]))
    return FAILED if faults else GOOD
