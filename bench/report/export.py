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
MOST = 8  # columns of a LaTeX table, as many as a page holds
# what a reader needs of the long tables, the rest only where there is room
_FIRST = (
    "objective", "dataset", "seed", "status", "ok", "planned", "mean_rank", "rank", "train_seconds", "gflops",
)  # fmt: skip
_STATISTICS = ("_mean", "_low", "_high", "_best", "_ema")


def export_tables(root: Path, folder: Path, *, all_columns: bool = False) -> list[Path]:
    """Writes every table and figure of the store at `root` into `folder`; returns the files.

    Args:
        all_columns: whether LaTeX tables have every column, as the others do, rather than those of `paper_columns`.

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
        whole = all_columns or path.suffix != ".tex"
        tables.write_table(frames[path.stem] if whole else paper_columns(frames[path.stem]), path)
    return written + plots.draw_figures(store, records, folder, FIGURES, captions=True)


def paper_columns(table: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST` columns: names first, then the metrics' statistics, metric by metric; no constant ones."""
    names = [str(name) for name in table.columns]
    if len(names) <= MOST:
        return table
    kept = [name for name in names if name in _FIRST or len(table) < 2 or table[name].astype(str).nunique() > 1]
    ordered = sorted(kept, key=lambda name: (_importance(name), names.index(name)))
    chosen = set(ordered[:MOST])
    return table[[name for name in names if name in chosen]]


def _importance(name: str) -> int:
    """Names of what a line is of, then means with their intervals, then anything else."""
    if name in _FIRST[:2]:
        return 0
    if name.endswith(_STATISTICS) and "success" not in name:
        return 1
    return 2 if name in _FIRST else 3
