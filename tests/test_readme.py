"""Tables in a page come from rows, and nothing else of the page changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import readme, table
from bench.errors import UsageError
from bench.store import Planned, Store

PAGE = """# A page

<!-- bench:spread one -->
old
<!-- bench:end -->

Words stay. <!-- bench:ranking two -->
kept
<!-- bench:end -->
"""


def row(kl: float) -> dict[str, Any]:
    estimate = {
        "value": kl,
        "stderr": None,
        "n": None,
        "certified": True,
        "reason": "",
        "better": "lower",
        "unit": "nats",
    }
    return {"status": "ok", "metrics": {"kl": {"last": estimate, "ema": {**estimate, "value": 2 * kl}}}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    spec = {"suite": "one", "track": "equal_steps", "device": "cpu", "dataset": {"label": "moons"}}
    spec["objective"] = {"label": "mine", "name": "mine", "params": {}, "control": False}  # type: ignore[assignment]
    runs = [Planned("cell", {**spec, "seed": seed}) for seed in range(3)]
    store.write_plan(runs)
    for run, kl in zip(runs, (0.3, 0.1, 0.2), strict=True):
        store.begin(run, {"git_sha": "abcdef0123456789"}).finish(row(kl))
    return store


def test_a_marked_table_is_made_from_rows_and_the_rest_stays(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert readme.refresh(page, store) == ["two"]
    text = page.read_text()
    assert "0.2 (0.1 to 0.3)" in text
    assert "0.4 (0.2 to 0.6)" in text
    assert "seeds 0, 1, 2: 3 of 3 runs succeeded; commit abcdef0123" in text
    assert "old" not in text
    assert text.startswith("# A page\n")
    assert text.endswith(PAGE.partition("old\n<!-- bench:end -->")[2])


def test_refreshing_twice_changes_nothing_more(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    readme.refresh(page, store)
    once = page.read_text()
    readme.refresh(page, store)
    assert page.read_text() == once


def test_an_unknown_kind_of_table_is_refused_and_the_page_kept(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("spread", "podium"))
    with pytest.raises(UsageError, match="no table of kind 'podium'; there are ranking, spread"):
        readme.refresh(page, store)
    assert "old" in page.read_text()


def test_what_stands_where_there_is_no_number_is_a_word(store: Store) -> None:
    assert "n/a" in readme.spread(table.read(store))
