"""Boards: what may stand in one table, ranked once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from bench.results.leaderboard import leaderboard_frame
from bench.results.records import BoardKey, Record
from bench.results.standings import Standing, standings


@dataclass(frozen=True)
class Board:
    """Records that may stand in one table: of one suite, track and device. Ranks are computed once."""

    key: BoardKey
    records: list[Record]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """`leaderboard_frame` of its records."""
        return leaderboard_frame(self.records)

    @cached_property
    def standings(self) -> list[Standing]:
        """Its objectives in their order; none where there is nothing to rank."""
        return [] if self.frame.empty else standings(self.frame)


def group_boards(records: Iterable[Record]) -> dict[str, Board]:
    """The boards of records, each by a name that tells it apart and may begin a file's name."""
    grouped: dict[BoardKey, list[Record]] = {}
    for record in records:
        grouped.setdefault(record.board, []).append(record)
    suites = [key.suite for key in grouped]
    names = [key.suite if suites.count(key.suite) == 1 else "-".join(key).replace(", ", "-") for key in grouped]
    return {name: Board(key, grouped[key]) for name, key in zip(names, grouped, strict=True)}
