"""`check`: validates a plug-in against the rules of its kind."""

from __future__ import annotations

import argparse
import sys

from bench.cli.options import Commands, Group, add_data_dir, add_time_limit, joined, new_parser, use_data_dir
from bench.common.duration import duration
from bench.common.exit_codes import FAILED, GOOD

GROUP = Group.PLUGINS
WORTH_SAYING = 20.0  # seconds


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "check", "Validate a plug-in.")
    parser.add_argument("ref", metavar="NAME|FILE.py", help="Plug-in to validate (required).")
    parser.add_argument(
        "--only", action="append", metavar="RULE,RULE", help="Try these rules only (default: all of its kind)."
    )
    parser.add_argument(
        "--draws",
        type=int,
        metavar="N",
        help="Take at most N examples a seed on each law for an objective's minimiser (default: 32768).",
    )
    add_data_dir(parser)
    add_time_limit(parser, 900)


def _show(rule: str) -> None:
    """Says on a terminal what is being tried; the longest rule takes minutes."""
    if sys.stderr.isatty():
        print(f"\r\033[Kchecking: {rule}", end="", file=sys.stderr, flush=True)


def _tell_time(seconds: float | None, draws: int | None) -> None:
    """Says how long it may take, where a person would wonder."""
    if seconds is not None and seconds > WORTH_SAYING:
        shorter = "" if draws else "; --draws 4096 takes an eighth of it"
        print(f"the search for the minimiser takes about {duration(seconds)} at most{shorter}", file=sys.stderr)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if there is no such plug-in, or its file cannot be imported.
    """
    from bench.contract import check

    use_data_dir(options)
    only = joined(options.only) or ()
    if not only or "minimiser" in only:
        _tell_time(check.estimated_seconds(options.ref, draws=options.draws), options.draws)
    findings = check.check_plugin(options.ref, only=only, draws=options.draws, begin=_show)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print("\n".join(check.in_lines(findings)))
    return GOOD if all(finding.passed for finding in findings) else FAILED
