"""What a paper takes from a store: each table as CSV, Markdown and LaTeX, each figure as SVG and PDF, captioned."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench import leaderboard, plots, report_extras, report_verdict, table
from bench.errors import UsageError
from bench.store import Store

TABLES, FIGURES = (".csv", ".md", ".tex"), (".svg", ".pdf")


def write(root: Path, folder: Path) -> list[Path]:
    """Writes every table and figure of the store at `root` into `folder`; returns the files.

    Raises:
        UsageError: if there is no plan in the store, or the folder cannot be made.
    """
    store = Store(root)
    records = table.read(store)
    if not records:
        raise UsageError(f"'{root}' holds no plan of any suite; run one into it first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"exports need a folder; '{folder}': {error.strerror}: give another --paper") from None
    boards = plots.boards(records)
    frames: dict[str, pd.DataFrame] = {"results": table.lines_of(records), "summary": table.summary(records)}
    frames |= {f"ranking-{name}": leaderboard.ranking_table(table.leaderboard(rows)) for name, rows in boards.items()}
    frames |= {f"verdict-{v['suite']}": v["tables"][0] for v in report_verdict.verdicts(records, {})}
    frames |= {extra.id: extra.table for extra in report_extras.extras(root, records)}
    written = [folder / f"{name}{suffix}" for name in frames for suffix in TABLES]
    for path in written:
        table.write(frames[path.stem], path)
    return written + plots.draw(store, records, folder, FIGURES, captions=True)
