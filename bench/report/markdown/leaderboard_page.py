"""leaderboard.md of a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.report.markdown.render import render
from bench.report.markdown.sections import READING, board_sections
from bench.results.boards import group_boards
from bench.results.records import Record


def leaderboard_markdown(records: Sequence[Record], pictures: Iterable[Path] = ()) -> str:
    """The leaderboard: a section for each suite, track and device, with its pictures, which lie in `plots/`."""
    drawn = list(pictures)
    boards = [
        (
            board_sections(board),
            [{"title": p.stem, "link": f"plots/{p.name}"} for p in drawn if p.stem.startswith(f"{name}-")],
        )
        for name, board in group_boards(records).items()
    ]
    return render("leaderboard.md", boards=boards, reading=READING)
