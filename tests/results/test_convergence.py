"""Nothing is ranked or judged on a data set whose reference fit is too far from the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.common.run_spec import ContrastSpec
from bench.results import contrasts
from bench.results.committed_rows import read_rows, write_rows
from bench.results.reference_comparison import compare_with_reference
from bench.results.standings import caption, standings
from tests.helpers.store_builder import Shelf

SUITE: dict[str, Any] = {"convergence_bound": 0.02, "reference": "rival"}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path / "store")
    for dataset in ("line", "ring"):
        shelf.entry("first", 0.2, dataset=dataset, scale=0.1, **SUITE)
        shelf.entry("rival", 0.4, dataset=dataset, scale=0.1, **SUITE)
    return shelf


def fit(shelf: Shelf, kl: float | None, dataset: str, rate: str = "0.01", **more: Any) -> None:
    for seed in range(2):
        shelf.ran("maximum_likelihood", seed, kl, dataset=dataset, role=f"reference fit (lr {rate})", **SUITE, **more)


def ranks(shelf: Shelf, dataset: str) -> list[float]:
    board = shelf.board()
    return list(board[board["dataset"] == dataset]["rank"].dropna())


def words(shelf: Shelf, dataset: str) -> set[str]:
    return {f.word for f in compare_with_reference(shelf.records()) if f.dataset == dataset}


def test_a_data_set_is_ranked_if_its_best_reference_fit_comes_near_enough(shelf: Shelf) -> None:
    fit(shelf, 0.015, "line")
    fit(shelf, 0.5, "line", rate="0.1")
    fit(shelf, 0.021, "ring")
    assert ranks(shelf, "line") == [1, 2]
    assert ranks(shelf, "ring") == []
    assert words(shelf, "line") == {"better"}
    assert words(shelf, "ring") == {"under-fits"}
    said = caption(shelf.board().reset_index(drop=True))
    assert "reference fit: KL 0.015 nats (bound 0.02)" in said
    assert "this setting under-fits, its reference fit ends at KL 0.021, above 0.02 nats: no verdict" in said


def test_the_mean_rank_is_over_the_data_sets_that_are_ranked(shelf: Shelf) -> None:
    fit(shelf, 0.015, "line")
    fit(shelf, 0.021, "ring")
    order = standings(shelf.board().reset_index(drop=True))
    assert [s.mean_rank for s in order if not s.rows["reference_fit"].any()] == [1.0, 2.0]


@pytest.mark.parametrize("missing", ["a fit that failed", "a fit without a certified value", "no fit"])
def test_without_a_finished_reference_fit_there_is_no_verdict(missing: str, shelf: Shelf) -> None:
    if missing == "a fit that failed":
        fit(shelf, None, "line", status="diverged", reason="it went")
    elif missing == "a fit without a certified value":
        fit(shelf, 0.001, "line", certified=False)
    assert ranks(shelf, "line") == []
    assert words(shelf, "line") == {"under-fits" if "certified" in missing else "not run"}
    assert "no verdict" in caption(shelf.board().reset_index(drop=True))


def test_a_reference_fit_stands_in_the_table_and_in_no_comparison(shelf: Shelf) -> None:
    for dataset in ("line", "ring"):
        fit(shelf, 0.001, dataset)
    board = shelf.board()
    assert board.loc[("reference fit (lr 0.01)", "line"), "shown"].startswith("0.001")
    assert {f.objective for f in compare_with_reference(shelf.records())} == {"first"}


def test_a_suite_that_ranks_nothing_prints_values_alone(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "store")
    shelf.entry("first", 0.2, ranked=False)
    shelf.entry("rival", 0.4, ranked=False)
    assert ranks(shelf, "line") == []
    assert "#" not in shelf.line_of("first")[2]


def test_a_data_set_of_unknown_density_says_that_convergence_is_not_testable(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "store")
    nll = {"metrics": {"nll": {"last": {"value": 1.0, "certified": True, "unit": "nats", "better": "lower"}}}}
    for seed in range(3):
        shelf.ran("first", seed, None, **SUITE, **nll)
        shelf.ran("rival", seed, None, **SUITE, **nll)
        shelf.ran("maximum_likelihood", seed, None, role="reference fit", **SUITE, **nll)
    assert "convergence not testable: the density is not known" in caption(shelf.board().reset_index(drop=True))


def test_committed_rows_keep_the_check_and_what_was_tuned(shelf: Shelf, tmp_path: Path) -> None:
    fit(shelf, 0.015, "line")
    fit(shelf, 0.021, "ring")
    shelf.entry("first", 0.1, dataset="line", tuned=True, **SUITE)
    write_rows(shelf.records(), tmp_path / "rows.csv")
    kept = read_rows(tmp_path / "rows.csv")
    assert {r.objective for r in kept} == {"first", "first (tuned)", "rival", "reference fit (lr 0.01)"}
    assert [f.word for f in compare_with_reference(kept)] == [f.word for f in compare_with_reference(shelf.records())]


def test_tuned_entries_are_compared_with_the_tuned_reference(shelf: Shelf) -> None:
    for dataset in ("line", "ring"):
        fit(shelf, 0.001, dataset)
        shelf.entry("first", 0.1, dataset=dataset, scale=0.1, tuned=True, **SUITE)
        shelf.entry("rival", 0.01, dataset=dataset, scale=0.02, tuned=True, **SUITE)
    found = {(f.objective, f.dataset): f.word for f in compare_with_reference(shelf.records())}
    assert found[("first", "line")] == "better"
    assert found[("first (tuned)", "line")] == "worse"


def test_a_question_is_answered_over_the_data_sets_that_converged(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "store")
    asked = {**SUITE, "contrasts": (ContrastSpec(name="first over rival", entry="first", reference="rival"),)}
    for dataset in ("line", "ring"):
        spread = 0.1 if dataset == "line" else 20.0
        shelf.entry("first", 0.2 if dataset == "line" else 40.0, dataset=dataset, scale=spread, **asked)
        shelf.entry("rival", 0.4, dataset=dataset, scale=0.1, **asked)
    fit(shelf, 0.015, "line")
    fit(shelf, 0.5, "ring")
    (finding,) = contrasts.answer(shelf.records())
    assert finding.word == "better"
    assert [(part.dataset, part.word) for part in finding.parts] == [("line", ""), ("ring", "under-fits")]
