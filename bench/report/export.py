"""What a paper takes from a store: each table as CSV, Markdown and LaTeX, each figure as SVG and PDF, captioned."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.common.errors import UsageError, no_runs
from bench.report.figures import plots
from bench.report.html import comparison, sections
from bench.results import tables
from bench.results.boards import group_boards
from bench.results.records import read_records
from bench.results.standings import ranking_frame
from bench.results.store import Store

TABLES, FIGURES = (".csv", ".md", ".tex"), (".svg", ".pdf")


def export_tables(root: Path, folder: Path) -> list[Path]:
    """Writes every table and figure of the store at `root` into `folder`; returns the files.

    Raises:
        UsageError: if there is no plan in the store, or the folder cannot be made.
    """
    store = Store(root)
    records = read_records(store)
    if not records:
        raise no_runs(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"exports need a folder; '{folder}': {error.strerror}: give another --export") from None
    boards = group_boards(records)
    frames: dict[str, pd.DataFrame] = {
        "results": tables.records_frame(records),
        "summary": tables.summary_frame(records),
    }
    frames |= {f"ranking-{name}": ranking_frame(board.frame) for name, board in boards.items() if not board.frame.empty}
    frames |= {f"verdict-{v['suite']}": v["tables"][0] for v in comparison.verdicts(records, {})}
    frames |= {section.id: section.table for section in sections.page_sections(root, records)}
    written = [folder / f"{name}{suffix}" for name in frames for suffix in TABLES]
    for path in written:
        tables.write_table(frames[path.stem], path)
    return written + plots.draw_figures(store, records, folder, FIGURES, captions=True)
