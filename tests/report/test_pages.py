"""Pages of results: rendered whole from committed rows, and stale as soon as a row changes."""

from __future__ import annotations

import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from bench.common.errors import UsageError
from bench.report.markdown.blocks import refresh_page
from bench.report.markdown.pages import add_rows, all_records, page_texts, stale_pages, write_pages
from bench.report.markdown.replication_page import add_other_seeds
from bench.report.publish import publish, render
from bench.results.labels import display_name
from bench.results.records import read_records
from bench.results.store import Planned
from bench.suites.files import every_objective, suite_names, suite_version
from tests.helpers.store_builder import Shelf, estimate


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
    for words in ("11 runs completed", "| entry", "×0.33", "**diverged** broken on line, seed 0", "data/toy.csv.xz"):
        assert words in text, words
    index = (results / "RESULTS.md").read_text(encoding="utf-8")
    assert "[toy](toy.md)" in index
    assert all(f"`{name}`" in index for name in suite_names())


def test_rows_of_tuned_settings_replace_no_others(shelf: Shelf, results: Path, tmp_path: Path) -> None:
    """A store of `run --tuned` has reference fits, too, which are not tuned."""
    tuned = Shelf(tmp_path / "tuned")
    tuned.entry("entry", 0.05, tuned=True)
    tuned.entry("fit", 0.01, role="reference fit")
    before = len(all_records(results))
    for _ in range(2):
        add_rows(tuned.records(), results)
        assert len(all_records(results)) == before + 10


def test_a_store_of_some_entries_replaces_these_and_no_others(shelf: Shelf, results: Path, tmp_path: Path) -> None:
    some = Shelf(tmp_path / "some")
    some.entry("entry", 0.05, seeds=3, reference="anchor")
    before = len(all_records(results))
    add_rows(some.records(), results)
    kept = all_records(results)
    assert len(kept) == before - 2
    assert {r.objective for r in kept} == {"anchor", "entry", "broken"}


def test_a_table_of_weights_has_no_column_of_what_nothing_measured(shelf: Shelf, results: Path) -> None:
    def heads() -> str:
        text = (results / "toy.md").read_text(encoding="utf-8")
        return next(line for line in text.splitlines() if line.startswith("| objective | data set | KL"))

    assert heads() == "| objective | data set | KL, last |"
    shelf.ran("averaged", 0, None, metrics={"kl": {"last": estimate(0.3), "ema": estimate(0.2)}})
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    add_rows(shelf.records(), results)
    write_pages(results)
    assert heads() == "| objective | data set | KL, last | KL, averaged |"


def test_a_page_leads_to_its_verdict_on_other_seeds(results: Path, tmp_path: Path) -> None:
    assert "replication" not in (results / "toy.md").read_text(encoding="utf-8")
    again = Shelf(tmp_path / "again")
    again.ran("entry", 200, 0.1, reference="anchor")
    add_other_seeds(again.records(), results)
    assert write_pages(results) == [results / "toy.md", results / "replication" / "toy.md"]
    assert "(replication/toy.md)" in (results / "toy.md").read_text(encoding="utf-8")


def test_a_page_says_which_objectives_of_a_suite_of_all_have_no_rows(tmp_path: Path) -> None:
    known = every_objective("plane")
    assert not every_objective("verdict_plane")
    assert not every_objective("my_own")
    shelf = Shelf(tmp_path / "store")
    for name in known[1:]:
        shelf.entry(name, 0.1, suite="plane")
    add_rows(shelf.records(), tmp_path / "results")
    write_pages(tmp_path / "results")
    text = (tmp_path / "results" / "plane.md").read_text(encoding="utf-8")
    assert f"1 of the {len(known)} objectives of this suite have not been run yet" in text
    assert f"{display_name(known[0])}.\n" in text
    shelf.entry(known[0], 0.1, suite="plane")
    add_rows(shelf.records(), tmp_path / "results")
    write_pages(tmp_path / "results")
    assert "have not been run" not in (tmp_path / "results" / "plane.md").read_text(encoding="utf-8")


def test_a_page_says_that_its_rows_are_of_an_earlier_version(tmp_path: Path) -> None:
    now = suite_version("verdict_plane")
    assert now is not None
    assert suite_version("plane_quick") == suite_version("plane")
    for version in (now - 1, now):
        shelf = Shelf(tmp_path / str(version))
        shelf.entry("entry", 0.1, suite="verdict_plane", suite_version=version)
        folder = tmp_path / f"results-{version}"
        add_rows(shelf.records(), folder)
        write_pages(folder)
        text = (folder / "verdict_plane.md").read_text(encoding="utf-8")
        assert (f"of protocol version {version}. The suite is at version {now}" in text) == (version < now)


def change(rows: Path) -> None:
    rows.write_bytes(lzma.compress(lzma.decompress(rows.read_bytes()).replace(b"0.098", b"0.198", 1)))


def test_rendering_again_changes_nothing_and_a_changed_row_is_found(results: Path) -> None:
    assert stale_pages(results) == []
    assert write_pages(results) == []
    rows = results / "data" / "toy.csv.xz"
    change(rows)
    assert [path.name for path in stale_pages(results)] == ["toy.md"]
    rows.unlink()
    assert [path.name for path in stale_pages(results)] == ["RESULTS.md"]


def test_an_edited_page_and_a_lost_one_are_stale(results: Path) -> None:
    (results / "toy.md").write_bytes((results / "toy.md").read_bytes().replace(b"\n", b"\r\n"))
    (results / "RESULTS.md").unlink()
    assert {path.name for path in stale_pages(results)} == {"toy.md", "RESULTS.md"}
    assert {path.name for path in write_pages(results)} == {"toy.md", "RESULTS.md"}
    assert stale_pages(results) == []


def test_rows_of_another_suite_make_the_index_stale_and_no_other_page(results: Path, tmp_path: Path) -> None:
    other = Shelf(tmp_path / "other")
    other.entry("good", 1.0, suite="third")
    assert add_rows(other.records(), results) == ["third"]
    assert {path.name for path in stale_pages(results)} == {"third.md", "RESULTS.md"}


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_hand_written_page_is_stale_while_its_table_is_of_other_rows(results: Path, ending: str) -> None:
    page, rows = results.parent / "page.md", results / "data" / "toy.csv.xz"
    page.write_bytes(f"mine{ending}<!-- bench:ranking toy -->{ending}<!-- bench:end -->{ending}".encode())
    assert stale_pages(results, [page]) == [page]
    refresh_page(page, all_records(results))
    assert stale_pages(results, [page]) == []
    change(rows)
    assert stale_pages(results, [page]) == [results / "toy.md", page]


def test_a_suite_on_two_devices_has_a_heading_for_each(results: Path, tmp_path: Path) -> None:
    other = Shelf(tmp_path / "other")
    for device in ("cpu", "cuda"):
        other.entry("good", 1.0, suite="both", device=device)
    add_rows(other.records(), results)
    lines = page_texts(results)[results / "both.md"].splitlines()
    assert [line for line in lines if line.startswith("## ")] == [
        "## both (equal steps, cpu)",
        "## both (equal steps, cuda)",
    ]


def test_rows_that_cannot_be_read_leave_every_page_as_it_is(results: Path) -> None:
    before = {path: path.read_bytes() for path in results.glob("*.md")}
    (results / "data" / "toy.csv.xz").write_bytes(lzma.compress(b"objective,kl\ngood,1.0\n"))
    with pytest.raises(UsageError, match=r"toy\.csv\.xz' holds no rows of a suite"):
        write_pages(results)
    assert {path: path.read_bytes() for path in results.glob("*.md")} == before


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
    changed = {path.name for path in publish(shelf.store.root, results).changed}
    assert changed >= {"toy.csv.xz", "toy.md", "RESULTS.md", "README.md", "toy-verdict.png"}
    assert not (results / "pictures" / "toy-of-old.png").exists()
    assert "pictures/toy-verdict.png" in (results / "toy.md").read_text(encoding="utf-8")
    lines = readme.read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1]) == ("mine", "mine, too")
    assert "entry" in "".join(lines)
    assert render(results) == []


def test_publishing_one_data_set_keeps_the_pictures_of_the_others(shelf: Shelf, tmp_path: Path) -> None:
    results = tmp_path / "results"
    publish(shelf.store.root, results)
    kept = results / "pictures" / "toy-densities-line.png"
    kept.write_bytes(b"of the other store")
    verdict = (results / "pictures" / "toy-verdict.png").read_bytes()
    other = Shelf(tmp_path / "other")
    for name, mean in (("anchor", 0.3), ("entry", 0.1)):
        other.entry(name, mean, scale=0.1, reference="anchor", dataset="ring")
    other.store.write_plan(map(Planned.of, other.specs))
    publish(other.store.root, results)
    assert kept.read_bytes() == b"of the other store"
    assert (results / "pictures" / "toy-verdict.png").read_bytes() != verdict
    alone = tmp_path / "alone"
    publish(other.store.root, alone)
    both = (results / "pictures" / "toy-verdict.png").read_bytes()
    assert both != (alone / "pictures" / "toy-verdict.png").read_bytes(), "drawn from all committed rows"


def test_publishing_an_unfinished_entry_leaves_the_finished_one(shelf: Shelf, tmp_path: Path) -> None:
    results = tmp_path / "results"
    publish(shelf.store.root, results)
    before = (results / "data" / "toy.csv.xz").read_bytes()
    begun = Shelf(tmp_path / "begun")
    begun.entry("entry", 0.05, seeds=1, reference="anchor")
    begun.entry("new", 0.05, seeds=1, reference="anchor")
    plan = [replace(spec, seed=seed) for spec in begun.specs for seed in range(5)]
    begun.store.write_plan(map(Planned.of, plan))
    published = publish(begun.store.root, results)
    assert {record.objective for record in published.left_out} == {"entry"}
    found = [(record.objective, record.status) for record in all_records(results)]
    assert found.count(("entry", "ok")) == 5
    assert ("entry", "missing") not in found
    assert (found.count(("new", "ok")), found.count(("new", "missing"))) == (1, 4), "an entry that nothing replaces"
    (results / "data" / "toy.csv.xz").write_bytes(before)
    only = Shelf(tmp_path / "only")
    only.entry("entry", 0.05, seeds=1, reference="anchor")
    only.store.write_plan(map(Planned.of, (replace(only.specs[0], seed=seed) for seed in range(5))))
    with pytest.raises(UsageError, match="fewer of every entry"):
        publish(only.store.root, results)
    assert (results / "data" / "toy.csv.xz").read_bytes() == before


def test_tables_of_committed_rows_are_those_of_the_store(shelf: Shelf, results: Path) -> None:
    before = (results / "toy.md").read_text(encoding="utf-8")
    add_rows(read_records(shelf.store), results)
    assert write_pages(results) == []
    assert (results / "toy.md").read_text(encoding="utf-8") == before
