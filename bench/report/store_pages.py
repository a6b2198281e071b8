"""What stands in a store beside its runs: tables, plots and the leaderboard, from its rows alone."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

from bench.common.errors import UsageError, no_runs
from bench.common.json_files import read_json, write_json
from bench.common.paths import PACKAGE
from bench.results import tables
from bench.results.boards import group_boards
from bench.results.integrity import file_digest
from bench.results.records import read_records
from bench.results.row_index import row_stamps
from bench.results.store import Store

MADE = ".pages.json"  # what the pages were made of, so that they are not made again for nothing


def write_store_pages(root: Path, *, again: bool = True) -> None:
    """Writes results.csv, summary.csv, efficiency.csv, leaderboard.md and the plots of a store.

    Args:
        again: also if the same rows and the same code have made them before.

    Raises:
        UsageError: if nothing was planned in the store, or a file cannot be written.
    """
    store = Store(root)
    basis = _basis(root)
    if not again and _is_current(root, basis):
        return
    # what draws takes longer to load than it takes to find that there is nothing to do
    from bench.report.figures import plots
    from bench.report.markdown.leaderboard_page import leaderboard_markdown
    from bench.results import efficiency

    records = read_records(store)
    if not records:
        raise no_runs(root)
    tables.write_table(tables.records_frame(records), root / "results.csv")
    tables.write_table(tables.summary_frame(records), root / "summary.csv")
    tables.write_table(efficiency.efficiency_frame(store, records), root / "efficiency.csv")
    boards = group_boards(records)
    figures = plots.draw_figures(store, records, root / "plots", boards=boards)
    (root / "leaderboard.md").write_text(leaderboard_markdown(records, figures, boards), encoding="utf-8")
    names = ("results.csv", "summary.csv", "efficiency.csv", "leaderboard.md")
    files = [*figures, *(root / name for name in names)]
    store.note_pages(*files)
    made = {path.relative_to(root).as_posix(): file_digest(path) for path in files}
    write_json(root / MADE, {"basis": basis, "files": made})


def _basis(root: Path) -> str:
    """What the pages are made of: the rows and the plan as they lie there, and what makes pages of them."""
    code = [path for folder in ("report", "results", "common") for path in sorted((PACKAGE / folder).rglob("*.*"))]
    stamps = [f"{path} {path.stat().st_mtime_ns}" for path in code if path.suffix != ".pyc"]
    plans = sorted((root / "plans").glob("*.json"))
    stamps += [f"{path.name} {file_digest(path)}" for path in (*plans, *sorted((root / "suites").glob("*")))]
    stamps += [f"{name} {version(name)}" for name in ("matplotlib", "numpy", "pandas", "seaborn")]
    stamps += [f"{folder} {stamp}" for folder, stamp in row_stamps(root)]
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest()


def _is_current(root: Path, basis: str) -> bool:
    """Whether the pages were made of just that, and nobody has changed them."""
    try:
        made = read_json(root / MADE)
        return made["basis"] == basis and all(file_digest(root / k) == sha for k, sha in made["files"].items())
    except (UsageError, OSError, KeyError):
        return False
