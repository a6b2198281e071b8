"""`check`: validates a plug-in against the rules of its kind."""

from __future__ import annotations

import argparse

from bench.cli.options import Commands, Group, add_data_dir, new_parser, use_data_dir
from bench.common.exit_codes import FAILED, GOOD

GROUP = Group.PLUGINS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "check", "Validate a plug-in.")
    parser.add_argument("ref", metavar="NAME|FILE.py", help="Plug-in to validate (required).")
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if there is no such plug-in, or its file cannot be imported.
    """
    from bench.contract import check

    use_data_dir(options)
    findings = check.check_plugin(options.ref)
    for finding in findings:
        print(f"{'pass' if finding.passed else 'FAIL'}  {finding.rule}: {finding.detail}")
    return GOOD if all(finding.passed for finding in findings) else FAILED
