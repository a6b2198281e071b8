"""Whether tuning helped on the reported seeds, from rows that are filled by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bench.results.reference_comparison import comparison_markdown
from bench.results.tuning_effect import BOTH_FAILED, DEFAULT_FAILED, SAME, tuning_effects, tuning_markdown
from tests.helpers.store_builder import Shelf

RULED: dict[str, Any] = {"track": "equal_flops", "reference": "anchor"}
SEEDS = range(6)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def both(shelf: Shelf, objective: str, factor: float, failed: str = "", **more: Any) -> None:
    """Runs of an entry and of its tuned twin, which is `factor` times as bad; the last seed fails on the named side."""
    for seed in SEEDS:
        kl = 0.1 * math.exp(0.5 * math.sin(seed))  # shared by a pair
        for tuned in (False, True):
            side = "tuned" if tuned else "default"
            status = "diverged" if seed == SEEDS[-1] and failed in (side, "both") else "ok"
            value = kl * factor * (1 + 0.02 * math.cos(seed)) if tuned else kl
            shelf.ran(objective, seed, value, status=status, tuned=tuned, **RULED, **more)


def words(shelf: Shelf) -> dict[str, str]:
    return {effect.entry: effect.word for effect in tuning_effects(shelf.records())}


def test_a_tuned_entry_is_told_from_its_default_by_seeds_in_common(shelf: Shelf) -> None:
    both(shelf, "anchor", 0.5)
    both(shelf, "spoilt", 1.5)
    both(shelf, "near", 1.0)
    assert words(shelf) == {"anchor": "better", "spoilt": "worse", "near": "not separable"}
    (anchor,) = (effect for effect in tuning_effects(shelf.records()) if effect.entry == "anchor")
    assert anchor.effect.mean == pytest.approx(0.5, rel=0.02)


def test_a_failed_run_is_named_with_the_side_that_failed(shelf: Shelf) -> None:
    for failed in ("tuned", "default", "both"):
        both(shelf, failed, 0.5, failed)
    assert words(shelf) == {"tuned": "failed", "default": DEFAULT_FAILED, "both": BOTH_FAILED}


def test_settings_that_tuning_left_as_they_were_are_no_test(shelf: Shelf) -> None:
    for tuned in (False, True):
        for seed in SEEDS:
            shelf.ran("anchor", seed, 0.1 + 0.01 * seed, tuned=tuned, **RULED)
    (effect,) = tuning_effects(shelf.records())
    assert (effect.word, effect.p_value) == (SAME, None)


def test_many_cells_are_corrected_together(shelf: Shelf) -> None:
    both(shelf, "anchor", 1.0)
    (alone,) = tuning_effects(shelf.records())
    for k in range(4):
        both(shelf, f"other{k}", 1.0)
    among = next(effect for effect in tuning_effects(shelf.records()) if effect.entry == "anchor")
    assert alone.p_value is not None
    assert among.p_value == pytest.approx(min(1.0, 5 * alone.p_value))


def test_the_verdict_says_what_tuning_did_where_something_was_tuned(shelf: Shelf) -> None:
    both(shelf, "anchor", 1.5)
    text = comparison_markdown(shelf.records())
    assert "worse in 1 (anchor on line)" in text
    assert tuning_markdown(shelf.records()) in text


def test_boards_have_tables_of_their_own(shelf: Shelf) -> None:
    both(shelf, "anchor", 1.5)
    both(shelf, "anchor", 0.5, suite="other")
    text = tuning_markdown(shelf.records())
    assert "worse in 1 (anchor on line)" in text.partition(" of other")[0]
    assert "better in 1" in text.partition(" of other")[2]


def test_without_tuned_runs_nothing_is_said(shelf: Shelf) -> None:
    shelf.entry("anchor", 0.3, **RULED)
    assert not tuning_markdown(shelf.records())
