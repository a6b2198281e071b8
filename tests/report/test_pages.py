"""Pages of results: rendered whole from committed rows, and stale as soon as a row changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.markdown.pages import add_rows, page_texts, stale_pages, write_pages
from bench.report.publish import publish, render
from bench.results.records import read_records
from bench.results.store import Planned
from bench.suites.files import suite_names
from tests.helpers.store_builder import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path / "store")
    shelf.entry("anchor", 0.3, scale=0.1, reference="anchor")
    shelf.entry("entry", 0.1, scale=0.1, reference="anchor")
    shelf.ran("broken", 0, None, status="diverged", reason="the loss is not finite", last_step=7)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    return shelf


@pytest.fixture
def results(shelf: Shelf, tmp_path: Path) -> Path:
    assert add_rows(shelf.records(), tmp_path / "results") == ["toy"]
    write_pages(tmp_path / "results")
    return tmp_path / "results"


def test_a_page_says_what_the_rows_say(results: Path) -> None:
    text = (results / "toy.md").read_text(encoding="utf-8")
    for words in ("11 runs completed", "| entry", "×0.33", "**diverged** broken on line, seed 0", "data/toy.csv"):
        assert words in text, words
    index = (results / "RESULTS.md").read_text(encoding="utf-8")
    assert "[toy](toy.md)" in index
    assert all(f"`{name}`" in index for name in suite_names())


def test_rendering_again_changes_nothing_and_a_changed_row_is_found(results: Path) -> None:
    assert stale_pages(results) == []
    assert write_pages(results) == []
    rows = results / "data" / "toy.csv"
    rows.write_text(rows.read_text(encoding="utf-8").replace("0.098", "0.198", 1), encoding="utf-8")
    assert [path.name for path in stale_pages(results)] == ["toy.md"]
    rows.unlink()
    assert [path.name for path in stale_pages(results)] == ["RESULTS.md"]


def test_a_page_has_no_double_empty_lines_and_ends_with_one_line_end(results: Path) -> None:
    for text in page_texts(results).values():
        assert "\n\n\n" not in text
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


def test_publishing_adds_rows_pictures_and_pages_and_refreshes_the_readme(shelf: Shelf, tmp_path: Path) -> None:
    readme, results = tmp_path / "README.md", tmp_path / "results"
    readme.write_text("mine\n<!-- bench:headline toy -->\n<!-- bench:end -->\nmine, too\n", encoding="utf-8")
    (results / "pictures").mkdir(parents=True)
    (results / "pictures" / "toy-of-old.png").write_bytes(b"")
    changed = {path.name for path in publish(shelf.store.root, results)}
    assert changed >= {"toy.csv", "toy.md", "RESULTS.md", "README.md", "toy-verdict.png"}
    assert not (results / "pictures" / "toy-of-old.png").exists()
    assert "pictures/toy-verdict.png" in (results / "toy.md").read_text(encoding="utf-8")
    lines = readme.read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1]) == ("mine", "mine, too")
    assert "entry" in "".join(lines)
    assert render(results) == []


def test_tables_of_committed_rows_are_those_of_the_store(shelf: Shelf, results: Path) -> None:
    before = (results / "toy.md").read_text(encoding="utf-8")
    add_rows(read_records(shelf.store), results)
    assert write_pages(results) == []
    assert (results / "toy.md").read_text(encoding="utf-8") == before
