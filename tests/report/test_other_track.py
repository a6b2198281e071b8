"""One question at two budgets, from rows that are filled by hand: both answers stand on both pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.common.run_spec import BudgetSpec, ContrastSpec
from bench.report.markdown.pages import add_rows, stale_pages, write_pages
from tests.helpers.store_builder import Shelf

ASKED = (ContrastSpec(name="entry over anchor", entry="entry", reference="anchor"),)
FLOPS: dict[str, Any] = {"suite": "by_work", "track": "equal_flops", "budget": BudgetSpec(flops=3e9)}
SECONDS: dict[str, Any] = {"suite": "by_time", "track": "equal_seconds", "budget": BudgetSpec(seconds=8.0)}


def fill(root: Path, results: Path, ratio: float, **about: Any) -> None:
    shelf = Shelf(root)
    for k in range(5):
        for name, kl in (("anchor", 0.1 + 0.01 * k), ("entry", ratio * (0.1 + 0.01 * k) * (1 + 0.01 * (-1) ** k))):
            shelf.ran(name, k, kl, reference="anchor", **about)
    add_rows(shelf.records(), results)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    fill(tmp_path / "first", tmp_path / "results", 0.5, contrasts=ASKED, **FLOPS)
    fill(tmp_path / "second", tmp_path / "results", 2.0, contrasts=ASKED, **SECONDS)
    write_pages(tmp_path / "results")
    return tmp_path / "results"


def test_each_page_has_the_answers_of_the_other_budget(results: Path) -> None:
    by_work, by_time = ((results / f"{name}.md").read_text(encoding="utf-8") for name in ("by_work", "by_time"))
    assert "### The same questions at equal seconds" in by_work
    assert "### The same questions at equal FLOPs" in by_time
    for page in (by_work, by_time):
        assert "Of 1 words on the questions, 1 differ; better in one and worse in the other: 1." in page
        assert "| entry | 60 | 60 |" in page, "the steps that each budget buys"
    assert "a run has 8 s of the processor, here 3 GFLOPs" in by_work


def test_a_page_is_stale_once_the_other_suite_changes(results: Path) -> None:
    fill(results.parent / "third", results, 0.5, contrasts=ASKED, **SECONDS)
    assert results / "by_work.md" in stale_pages(results)


def test_other_questions_and_the_same_budget_are_not_compared(results: Path) -> None:
    another = (ContrastSpec(name="something else", entry="entry", reference="anchor"),)
    fill(results.parent / "fourth", results, 0.5, contrasts=another, **{**SECONDS, "suite": "other"})
    fill(results.parent / "fifth", results, 0.5, contrasts=ASKED, **{**FLOPS, "suite": "twin"})
    write_pages(results)
    assert "The same questions" not in (results / "other.md").read_text(encoding="utf-8")
    assert "twin" not in (results / "by_work.md").read_text(encoding="utf-8")
