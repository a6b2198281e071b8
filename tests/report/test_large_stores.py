"""What a store of thousands of runs shows is bounded, and says what it leaves out; a small one shows all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.report import bounds, store_pages
from bench.report.figures import plots
from bench.results.boards import group_boards
from bench.results.records import read_records
from bench.results.store import Planned, Store
from tests.helpers.html_helpers import page_of
from tests.helpers.large_store import fill_large_store
from tests.helpers.store_builder import Shelf

PAGES = ("results.csv", "summary.csv", "efficiency.csv", "leaderboard.md")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path / "store")
    for k in range(6):
        shelf.entry(f"entry{k}", 1.0 + k)
    shelf.ran("broken", 0, None, status="error", reason="it broke")
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    return shelf


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_RUNS", 12)
    monkeypatch.setattr(bounds, "MOST_CELLS", 3)
    monkeypatch.setattr(bounds, "LEAST_SEEDS", 2)


def test_a_small_board_is_drawn_whole(shelf: Shelf) -> None:
    (board,) = group_boards(shelf.records()).values()
    for part in (bounds.drawn_part(board), bounds.charted_part(board), bounds.listed_part(board.records)):
        assert part.records == board.records
        assert part.left_out == ""


def test_of_a_large_board_the_best_entries_and_first_seeds_are_drawn(shelf: Shelf, small_bounds: None) -> None:
    (board,) = group_boards(shelf.records()).values()
    part = bounds.drawn_part(board)
    assert [(r.objective, r.spec.seed) for r in part.records] == [(f"entry{k}", s) for k in range(3) for s in range(2)]
    assert part.left_out == "the first 3 of 7 entries, 2 of 5 seeds are drawn; tables stand on all"
    part = bounds.charted_part(board)
    assert {record.objective for record in part.records} == {*(f"entry{k}" for k in range(6)), "broken"}
    assert {record.spec.seed for record in part.records} == {0, 1}


def test_what_failed_is_listed_first(shelf: Shelf) -> None:
    part = bounds.listed_part(shelf.records(), 3)
    assert [(r.objective, r.spec.seed) for r in part.records] == [("entry0", 0), ("entry0", 1), ("broken", 0)]
    assert "3 of 31 runs are listed, those that failed first" in part.left_out


def test_a_picture_says_what_is_left_out(tmp_path: Path, small_bounds: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def noted(text: str, *size: float) -> list[str]:
        said.append(text)
        return [text]

    monkeypatch.setattr(plots, "wrapped", noted)
    fill_large_store(tmp_path, 4, 2, 3)
    assert len(plots.draw_figures(Store(tmp_path), read_records(Store(tmp_path)), tmp_path / "plots")) == 3
    assert said == ["the first 1 of 4 entries, 2 of 3 seeds are drawn; tables stand on all"] * 3


def test_the_page_says_what_is_left_out(shelf: Shelf, small_bounds: None) -> None:
    assert "Of single values and curves: all entries, 2 of 5 seeds are drawn" in page_of(shelf)
    assert "Of single values and curves" not in _with_all(shelf)


def _with_all(shelf: Shelf) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "MOST_RUNS", 2000)
        return page_of(shelf)


def ages(root: Path) -> list[int]:
    return [(root / name).stat().st_mtime_ns for name in PAGES]


def test_pages_that_are_current_are_not_written_again(shelf: Shelf) -> None:
    root = shelf.store.root
    store_pages.write_store_pages(root, again=False)
    before = ages(root)
    store_pages.write_store_pages(root, again=False)
    assert main(["table", str(root)]) == 0
    assert ages(root) == before
    assert main(["table", str(root), "--again"]) == 0
    assert all(new > old for new, old in zip(ages(root), before, strict=True))


@pytest.mark.parametrize("change", ["row", "page", "gone"])
def test_pages_that_are_not_current_are_written_again(shelf: Shelf, change: str) -> None:
    root = shelf.store.root
    store_pages.write_store_pages(root, again=False)
    right = (root / "results.csv").read_bytes()
    if change == "row":
        shelf.ran("entry0", 0, 7.5)
    elif change == "page":
        (root / "results.csv").write_text("changed", encoding="utf-8")
    else:
        (root / "results.csv").unlink()
    store_pages.write_store_pages(root, again=False)
    again = (root / "results.csv").read_bytes()
    assert again == right if change != "row" else b"7.5" in again


def test_the_newest_plan_of_a_suite_is_not_written_again(shelf: Shelf) -> None:
    store, runs = shelf.store, [Planned.of(spec) for spec in shelf.specs]

    def number(path: Path) -> tuple[int, int]:
        return path.stat().st_ino, path.stat().st_mtime_ns

    (first,) = (store.root / "plans").glob("*.json")
    before = number(first)
    store.write_plan(runs)
    assert number(first) == before
    store.write_plan(runs[:2])  # another plan is newer now
    store.write_plan(runs)
    assert number(first) != before
    assert len(store.planned()) == len(runs)
    first.write_text("{}", encoding="utf-8")  # damaged
    store.write_plan(runs)
    assert store.verify() == []


@pytest.mark.long
def test_ten_thousand_runs_make_a_page_of_less_than_5_mb(tmp_path: Path) -> None:
    fill_large_store(tmp_path / "store")
    began = os.times()
    assert main(["report", str(tmp_path / "store"), "--out", str(tmp_path / "page.html")]) == 0
    assert os.times().user - began.user < 30  # 8 on an idle core
    assert (tmp_path / "page.html").stat().st_size < 5_000_000
    assert "1000 of 10000 runs are listed" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert Store(tmp_path / "store").verify() == []
