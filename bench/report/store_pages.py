"""What stands in a store beside its runs: tables, plots and the leaderboard, from its rows alone."""

from __future__ import annotations

from pathlib import Path

from bench.common.errors import no_runs
from bench.report.figures import plots
from bench.report.markdown.leaderboard_page import leaderboard_markdown
from bench.results import efficiency, tables
from bench.results.records import read_records
from bench.results.store import Store


def write_store_pages(root: Path) -> None:
    """Writes results.csv, summary.csv, efficiency.csv, leaderboard.md and the plots of a store.

    Raises:
        UsageError: if nothing was planned in the store, or a file cannot be written.
    """
    store = Store(root)
    records = read_records(store)
    if not records:
        raise no_runs(root)
    tables.write_table(tables.results_frame(store), root / "results.csv")
    tables.write_table(tables.summary_frame(records), root / "summary.csv")
    tables.write_table(efficiency.efficiency_frame(store, records), root / "efficiency.csv")
    figures = plots.draw_figures(store, records, root / "plots")
    (root / "leaderboard.md").write_text(leaderboard_markdown(records, figures), encoding="utf-8")
    names = ("results.csv", "summary.csv", "efficiency.csv", "leaderboard.md")
    store.note_pages(*figures, *(root / name for name in names))
