"""What pictures and pages show of a store that is too large to be shown whole, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench.results.boards import Board
from bench.results.records import FAILURES, Record

MOST_RUNS = 2000  # of a board in its figures, and on a page
MOST_CELLS = 64  # entries times data sets in the figures of a board that has more runs than that
LEAST_SEEDS = 5  # of a cell, where it has so many
MOST_LISTED = 1000  # lines of a page's table of runs


@dataclass(frozen=True)
class Part:
    """Some of a board's runs.

    Attributes:
        left_out: a sentence on what is not among them; empty if they are all.
    """

    records: list[Record]
    left_out: str = ""


def drawn_part(board: Board) -> Part:
    """The runs that a board's figures are drawn from: all, or the best entries and their first seeds."""
    records = board.records
    if len(records) <= MOST_RUNS:
        return Part(records)
    entries = [standing.objective for standing in board.standings]
    datasets = {record.dataset for record in records}
    best = entries[: max(1, MOST_CELLS // len(datasets))]
    chosen = [record for record in records if record.objective in set(best)]
    return _first_seeds(chosen, f"the first {len(best)} of {len(entries)} entries", MOST_RUNS // 4)


def charted_part(board: Board) -> Part:
    """The runs whose single values and curves a page holds: all, or the first seeds of every entry."""
    if len(board.records) <= MOST_RUNS:
        return Part(board.records)
    return _first_seeds(board.records, "all entries", MOST_RUNS)


def _first_seeds(records: Sequence[Record], entries: str, most: int) -> Part:
    cells = len({(record.objective, record.dataset) for record in records})
    seeds = sorted({record.spec.seed for record in records})
    shown = set(seeds[: max(LEAST_SEEDS, most // cells)])
    kept = [record for record in records if record.spec.seed in shown]
    return Part(kept, f"{entries}, {len(shown)} of {len(seeds)} seeds are drawn; tables stand on all")


def listed_part(records: Sequence[Record], most: int = MOST_LISTED) -> Part:
    """The runs that a page lists: all, or what failed and then the first."""
    if len(records) <= most:
        return Part(list(records))
    failed = _places(records, FAILURES)
    chosen = {*failed[:most]}
    for k in range(len(records)):
        if len(chosen) >= most:
            break
        chosen.add(k)
    text = f"{most} of {len(records)} runs are listed, those that failed first; all are in results.csv of the store"
    return Part([record for k, record in enumerate(records) if k in chosen], text)


def _places(records: Sequence[Record], statuses: Collection[str]) -> list[int]:
    return [k for k, record in enumerate(records) if record.status in statuses]
