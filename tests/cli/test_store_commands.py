"""Commands that read a store: what each writes, prints and returns."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import main
from bench.results.store import Planned
from tests.helpers.store_builder import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    filled = Shelf(tmp_path / "store")
    for name, mean in (("usual", 2.0), ("better", 1.0)):
        filled.entry(name, mean, reference="usual")
    filled.store.write_plan(map(Planned.of, filled.specs))
    return filled


def bench(*arguments: object) -> int:
    return main.main([str(a) for a in arguments])


def test_table_writes_tables_plots_and_leaderboard(shelf: Shelf) -> None:
    assert bench("table", shelf.store.root) == 0
    written = {path.name for path in shelf.store.root.iterdir()}
    assert {"results.csv", "summary.csv", "efficiency.csv", "leaderboard.md"} <= written
    assert list((shelf.store.root / "plots").glob("*.png"))


def test_table_updates_a_page_in_place_of_the_store(shelf: Shelf, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench:ranking toy -->\nold\n<!-- bench:end -->\nafter\n", encoding="utf-8")
    assert bench("table", shelf.store.root, "--update-page", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "better" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert not (shelf.store.root / "leaderboard.md").exists()


def test_report_exports_tables_and_figures_on_demand(shelf: Shelf, tmp_path: Path) -> None:
    out, folder = tmp_path / "page.html", tmp_path / "paper"
    assert bench("report", shelf.store.root, "--out", out) == 0
    assert out.exists()
    assert not folder.exists()
    assert bench("report", shelf.store.root, "--out", out, "--export", folder) == 0
    assert (folder / "results.tex").exists()


def test_verdict_is_printed_and_kept(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("verdict", shelf.store.root) == 0
    printed = capsys.readouterr().out
    assert "better" in printed
    assert (shelf.store.root / "verdict.md").read_text(encoding="utf-8") == printed


def test_compare_prints_markdown(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("compare", shelf.store.root, shelf.store.root) == 0
    assert "better" in capsys.readouterr().out


def test_publish_prints_the_files_that_it_wrote(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("publish", shelf.store.root, "--out", tmp_path / "results") == 0
    printed = capsys.readouterr().out.split()
    assert str(tmp_path / "results" / "data" / "toy.csv.xz") in printed
    assert all(Path(path).is_file() for path in printed)


def test_verify_fails_on_a_modified_row(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("verify", shelf.store.root) == 0
    row = next(iter(shelf.store.attempts())).folder / "row.json"
    row.write_text(row.read_text(encoding="utf-8").replace("1.5", "1.4"), encoding="utf-8")
    assert bench("verify", shelf.store.root) == 3
    captured = capsys.readouterr()
    assert f"{row.relative_to(shelf.store.root)}: changed" in captured.out
    assert captured.err.endswith("1 changed or deleted files\n")
