"""The leaderboard in a terminal, at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.results import labels, standings
from bench.results.boards import group_boards
from bench.results.records import FAILURES, Record
from bench.results.standings import Standing

ROOM = 24  # columns that an interval and a rank need beside the value


def print_leaderboard(records: Sequence[Record], console: Console | None = None) -> None:
    """Prints a table for each suite, track and device, the best first; in a narrow terminal the means only."""
    out = console or Console()
    for name, board in group_boards(records).items():
        frame = board.frame
        if frame.empty:
            out.print(f"{name}: classical denoisers alone, so nothing is ranked; leaderboard.md has their table")
            continue
        datasets = list(dict.fromkeys(frame["dataset"]))
        wide = out.width >= 62 + ROOM * len(datasets)
        printed = Table(title=name, title_justify="left", header_style="bold", box=None, pad_edge=False)
        printed.add_column("objective", overflow="fold", min_width=20)
        heads = [labels.display_name(head) for head in standings.headings(frame).values()]
        for heading in ("rank", *heads, "ok", *(("s", "GFLOPs") if wide else ())):
            printed.add_column(Text(heading), justify="right", no_wrap=wide)  # a bracket is no markup
        for standing in board.standings:
            printed.add_row(*_cells(standing, datasets, wide=wide), style="dim" if standing.control else "")
        out.print(printed)
        out.print()


def _cells(standing: Standing, datasets: Sequence[str], *, wide: bool) -> list[Text]:
    name = labels.display_name(standing.objective) + " (control)" * standing.control
    rank = "–" if standing.mean_rank is None else f"{standing.mean_rank:.1f}"
    lines = {line["dataset"]: line for line in standing.rows.to_dict("records")}
    values = [_value(lines.get(dataset), wide=wide) for dataset in datasets]
    costs = ["n/a" if (v := standing.median(column)) is None else f"{v:.3g}" for column in ("train_seconds", "gflops")]
    ends = [Text(text) for text in (standing.completed.replace(" of ", "/"), *(costs if wide else ()))]
    return [Text(name), Text(rank), *values, *ends]


def _value(line: dict[Any, Any] | None, *, wide: bool) -> Text:
    """A cell: green at the first rank, red where the runs failed, grey where it is not certified."""
    if line is None:
        return Text("not planned", style="dim")
    shown = str(line["shown"])
    if pd.isna(line["mean"]):
        return Text(shown, style="red" if shown.split(" ")[0] in FAILURES else "dim")
    text = shown if wide else f"{line['mean']:.3g}" + "?" * bool(line["uncertified"])
    return Text(text, style="bright_black" if line["uncertified"] else "green" if line["rank"] == 1 else "")
