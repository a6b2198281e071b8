"""`verdict`: compares a suite's objectives with its reference objective."""

from __future__ import annotations

import argparse

from bench.cli.options import Commands, Group, add_store, new_parser
from bench.common.errors import UsageError
from bench.common.exit_codes import GOOD

GROUP = Group.RESULTS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(
        commands, "verdict", "Answer a suite's questions and compare its objectives with its reference, paired by seed."
    )
    add_store(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the comparison and writes it into the store as verdict.md; returns the exit code.

    Raises:
        UsageError: if the store holds no suite with a question or a reference.
    """
    from bench.results import reference_comparison
    from bench.results.records import read_records
    from bench.results.store import Store

    store = Store(options.store)
    text = reference_comparison.comparison_markdown(read_records(store))
    if not text:
        raise UsageError(
            f"No suite with a question or a reference in '{options.store}'; "
            f"run one, e.g. run --suite verdict --out {options.store}."
        )
    (options.store / "verdict.md").write_text(text + "\n", encoding="utf-8")
    store.note_pages(options.store / "verdict.md")
    print(text)
    return GOOD
