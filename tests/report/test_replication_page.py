"""A verdict on other seeds, from rows that are filled by hand: what is compared, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.common.errors import UsageError
from bench.report.markdown.pages import add_rows, stale_pages, write_pages
from bench.report.markdown.replication_page import add_other_seeds
from bench.report.publish import publish_other_seeds
from bench.results.store import Planned
from tests.helpers.store_builder import Shelf

RULED: dict[str, Any] = {"track": "equal_flops", "reference": "anchor"}
OWN, OTHER = range(5), range(200, 205)


def entries(shelf: Shelf, seeds: range, factor: float, spread: float = 0.01, **more: Any) -> None:
    for k, seed in enumerate(seeds):
        shelf.ran("anchor", seed, 0.1 + 0.01 * k, **RULED, **more)
        shelf.ran("entry", seed, factor * (0.1 + 0.01 * k) * (1 + spread * (-1) ** k), **RULED, **more)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    own = Shelf(tmp_path / "own")
    entries(own, OWN, 0.5)
    add_rows(own.records(), tmp_path / "results")
    write_pages(tmp_path / "results")
    return tmp_path / "results"


def replicated(results: Path, factor: float) -> str:
    again = Shelf(results.parent / "again")
    entries(again, OTHER, factor)
    again.store.write_plan(map(Planned.of, again.specs))
    publish_other_seeds(results.parent / "again", results)
    return (results / "replication" / "toy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("factor", "counted"), [(0.5, 0), (2.0, 1)])
def test_words_that_change_are_counted_and_those_that_turn_round(results: Path, factor: float, counted: int) -> None:
    text = replicated(results, factor)
    assert f"Of 1 words on entries against the reference on one data set, {counted} differ" in text
    assert f"better in one and worse in the other: {counted}." in text
    assert "seeds 0-4 and seeds 200-204" in text


def test_the_page_is_stale_as_soon_as_a_row_changes(results: Path) -> None:
    replicated(results, 0.5)
    assert stale_pages(results) == []
    own = Shelf(results.parent / "changed")
    entries(own, OWN, 3.0)
    add_rows(own.records(), results)
    assert results / "replication" / "toy.md" in stale_pages(results)


def test_a_replication_is_kept_in_parts(results: Path) -> None:
    for part in (OTHER[:2], OTHER[2:]):
        shelf = Shelf(results.parent / f"from-{part[0]}")
        entries(shelf, part, 0.5)
        add_other_seeds(shelf.records(), results)
    write_pages(results)
    assert "seeds 200-204" in (results / "replication" / "toy.md").read_text(encoding="utf-8")


def test_tuned_and_default_rows_on_other_seeds_are_compared_with_each_other(results: Path) -> None:
    shelf = Shelf(results.parent / "again")
    entries(shelf, OTHER, 0.5)
    entries(shelf, OTHER, 0.2, spread=0.02, tuned=True)
    add_other_seeds(shelf.records(), results)
    write_pages(results)
    text = (results / "replication" / "toy.md").read_text(encoding="utf-8")
    assert "2 cells: better in 1; same settings in 1" in text


def test_seeds_that_a_choice_was_made_with_are_refused_and_nothing_is_written(results: Path) -> None:
    def refused(seeds: range) -> str:
        shelf = Shelf(results.parent / f"from-{seeds[0]}")
        entries(shelf, seeds, 0.5)
        with pytest.raises(UsageError) as error:
            add_other_seeds(shelf.records(), results)
        return str(error.value)

    (results / "tuning").mkdir()
    (results / "tuning" / "toy.csv").write_text("suite,seeds\ntoy,100-101\ntoy,100-101\n", encoding="utf-8")
    assert "3-4 were used for the suite's committed rows" in refused(range(3, 8))
    assert "101 were used for the suite's tuning" in refused(range(101, 106))
    assert not (results / "replication").exists()


def test_rows_of_another_protocol_are_refused(results: Path) -> None:
    shelf = Shelf(results.parent / "again")
    entries(shelf, OTHER, 0.5, suite_version=7)
    with pytest.raises(UsageError, match="protocol version of the committed rows"):
        add_other_seeds(shelf.records(), results)


def test_a_suite_without_committed_rows_is_refused(results: Path) -> None:
    shelf = Shelf(results.parent / "again")
    shelf.ran("anchor", 200, 0.1, suite="other", **RULED)
    with pytest.raises(UsageError, match="publish the suite first"):
        add_other_seeds(shelf.records(), results)
