"""leaderboard.md of a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.report.markdown.render import render
from bench.report.markdown.sections import READING, board_sections
from bench.results.boards import Board, group_boards
from bench.results.records import Record


def leaderboard_markdown(
    records: Sequence[Record], pictures: Iterable[Path] = (), boards: Mapping[str, Board] | None = None
) -> str:
    """The leaderboard: a section for each suite, track and device, with its pictures, which lie in `plots/`.

    Args:
        boards: those of the records, if they are known.
    """
    drawn = list(pictures)
    parts = [
        (
            board_sections(board),
            [{"title": p.stem, "link": f"plots/{p.name}"} for p in drawn if p.stem.startswith(f"{name}-")],
        )
        for name, board in (boards or group_boards(records)).items()
    ]
    return render("leaderboard.md", boards=parts, reading=READING)
