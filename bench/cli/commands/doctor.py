"""`doctor`: reports the versions and the hardware of this machine."""

from __future__ import annotations

import argparse

from bench.cli.options import Commands, Group, new_parser
from bench.common.exit_codes import GOOD

GROUP = Group.TRAIN


def add_parser(commands: Commands) -> None:
    """Adds the command."""
    new_parser(commands, "doctor", "Report versions, processor, memory and CUDA of this machine.")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from bench.cli.environment import environment_report

    print(environment_report())
    return GOOD
