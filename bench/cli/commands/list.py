"""`list`: names plug-ins and suites without importing them."""

from __future__ import annotations

import argparse

from bench.cli.listing import KINDS, listing
from bench.cli.options import Commands, Group, new_parser
from bench.common.exit_codes import GOOD

GROUP = Group.PLUGINS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "list", "List objectives, data sets, metrics, networks, denoisers and suites.")
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"{', '.join(KINDS)} or suites (default: all).")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if the kind is unknown, or a plug-in folder is missing or holds a file that cannot be parsed.
    """
    print(listing(options.kind))
    return GOOD
