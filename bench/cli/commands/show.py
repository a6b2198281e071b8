"""`show`: prints everything that one plug-in or suite declares."""

from __future__ import annotations

import argparse

from bench.cli.listing import explain_reference
from bench.cli.options import Commands, Group, new_parser
from bench.common.exit_codes import GOOD

GROUP = Group.PLUGINS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "show", "Show what a plug-in or a suite declares.")
    parser.add_argument("ref", metavar="NAME|FILE.py|FILE.toml", help="Plug-in or suite to show (required).")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if there is no such plug-in or suite, or its file cannot be imported.
    """
    print(explain_reference(options.ref))
    return GOOD
