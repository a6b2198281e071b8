"""The parts of a verdict side by side: one table out of the verdicts that stand, part by part, on the same page."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bench import table
from bench.errors import UsageError
from bench.verdict import WORDS

ABSENT = "–"
READING = (
    "A cell is that of the part's own table where the part is of one data set, else it counts the words of its cells. "
    "× is a ratio to the reference where lower is better, so that ×1 is equal; a signed number is a difference where "
    f"higher is better. {ABSENT}: not in that part."
)


def markdown(suite: str, blocks: Mapping[str, str]) -> str:
    """Every objective in each part of a suite that is an include list.

    On one data set a cell is the part's own, on several it counts their words. Settings are said only where a part has
    an objective, its reference among them, by several.

    Args:
        suite: its name.
        blocks: the page's verdict of each part, by suite: what `verdict.markdown` wrote.

    Raises:
        UsageError: if the suite does not exist, or the page lacks a part's verdict.
    """
    # which load torch, for nothing where a page has no such table
    from bench.load import split_reference
    from bench.spec import read_suite

    rows: dict[str, dict[str, str]] = {}
    titles: list[str] = []
    for part in read_suite(suite):
        name = part["name"]
        if name not in blocks:
            raise UsageError(f"a page shows the verdict of {suite} beside those of its parts; it has none of {name}")
        datasets, listed = ([split_reference(ref)[0] for ref in part[kind]] for kind in ("datasets", "objectives"))
        title = f"{name}: {datasets[0] if len(datasets) == 1 else f'{len(datasets)} data sets'}"
        titles.append(title)
        for label, cells in _read(blocks[name]).items():
            objective, settings = split_reference(label)
            row = rows.setdefault(objective, {})
            text = cells[0] if len(cells) == 1 else _tally(cells)
            if settings and listed.count(objective) > 1:
                text = f"with {label.removeprefix(objective)} {text}"
            row[title] = f"{row[title]}; {text}" if title in row else text
    lines = [{"objective": objective, **cells} for objective, cells in rows.items()]
    found = pd.DataFrame(lines, columns=["objective", *titles]).fillna(ABSENT)
    return f"{table.markdown(found)}\n\n{READING}"


def _read(block: str) -> dict[str, list[str]]:
    """The cells of each line of a verdict's table, by the objective's label."""
    lines = [line for line in block.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {label: cells for label, *cells in rows}


def _tally(cells: list[str]) -> str:
    """The words that cells end with, counted: 1 better, 3 not separable."""
    words = [cell.rpartition(": ")[2] for cell in cells]
    return ", ".join(f"{words.count(word)} {word}" for word in WORDS if word in words)
