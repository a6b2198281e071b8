"""`history`: prints and plots the measurements of gated commits."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Commands, Group, add_history, new_parser
from bench.common.exit_codes import GOOD

GROUP = Group.CI


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "history", "Show measurements of every gated commit and detected changepoints.")
    add_history(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.png", help="Plot to write (default: the history's path with suffix .png)."
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if there is no history, or the plot cannot be written.
    """
    from bench.regression import history_plots

    print(history_plots.show_history(options.history, options.out))
    return GOOD
