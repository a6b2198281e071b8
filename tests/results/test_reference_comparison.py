"""The verdict on objectives against a suite's reference, from rows that are filled by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.common.errors import UsageError
from bench.report.markdown import blocks
from bench.results import reference_comparison
from bench.results.reference_comparison import ReferenceComparison
from bench.results.store import Planned
from bench.suites import expand, schema
from tests.helpers.store_builder import Shelf, estimate

RULED: dict[str, Any] = {"track": "equal_flops", "reference": "anchor"}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def found(shelf: Shelf) -> dict[str, ReferenceComparison]:
    return {f.objective: f for f in reference_comparison.compare_with_reference(shelf.records())}


def test_a_halved_divergence_at_every_seed_is_better_by_a_factor_of_two(shelf: Shelf) -> None:
    for seed in range(5):
        noise = math.exp(0.3 * math.sin(seed))  # shared by a pair, so that only pairing can see through it
        shelf.ran("anchor", seed, 0.2 * noise, **RULED)
        shelf.ran("half", seed, 0.1 * noise * (1 + 0.01 * seed), **RULED)
        shelf.ran("double", seed, 0.4 * noise * (1 + 0.01 * seed), **RULED)
    half, double = found(shelf)["half"], found(shelf)["double"]
    assert (half.word, double.word) == ("better", "worse")
    assert half.effect.mean == pytest.approx(0.51, abs=0.01)
    assert half.effect.low is not None
    assert half.effect.high is not None
    assert half.effect.low < 0.51 < half.effect.high < 1


def test_equal_objectives_are_seldom_separated(tmp_path: Path) -> None:
    rng, separated = np.random.default_rng(0), 0
    for trial in range(40):
        shelf = Shelf(tmp_path / str(trial))
        for seed in range(5):
            for objective in ("anchor", "twin", "other", "third"):
                shelf.ran(objective, seed, float(0.1 * np.exp(0.3 * rng.normal())), **RULED)
        separated += any(f.word != "not separable" for f in found(shelf).values())
    # a family-wise error of .05: more than 6 of 40 has probability .003
    assert separated <= 6


@pytest.mark.parametrize(("failing", "word"), [("anchor", "reference failed"), ("entry", "failed")])
def test_a_failed_seed_makes_the_pair_failed_and_not_an_average_of_the_rest(
    shelf: Shelf, failing: str, word: str
) -> None:
    for objective in ("anchor", "entry"):
        shelf.entry(objective, 0.1 if objective == "entry" else 0.5, seeds=4, **RULED)
        status = "diverged" if objective == failing else "ok"
        shelf.ran(objective, 4, 0.3, status=status, **RULED)
    assert found(shelf)["entry"].word == word
    assert "failed" in reference_comparison.comparison_markdown(shelf.records())


def test_without_the_reference_nothing_is_compared(shelf: Shelf) -> None:
    shelf.entry("entry", 0.1, **RULED)
    assert found(shelf)["entry"].word == "not run"


def test_controls_and_suites_without_a_reference_get_no_verdict(shelf: Shelf) -> None:
    shelf.entry("anchor", 0.3, **RULED)
    shelf.entry("wrong", 0.9, control=True, **RULED)
    shelf.entry("free", 0.1, suite="other")
    assert not reference_comparison.compare_with_reference(shelf.records())


def test_decibels_are_compared_by_their_difference_and_more_is_better(shelf: Shelf) -> None:
    for objective, level in (("anchor", 28.0), ("entry", 29.0)):
        for seed in range(5):
            value = level + 0.1 * seed + (0.01 * (-1) ** seed if objective == "entry" else 0.0)
            shelf.ran(objective, seed, None, metrics={"psnr": {"last": estimate(value, better="higher")}}, **RULED)
    shelf.ran("wild", 0, None, status="diverged", **RULED)
    entry = found(shelf)["entry"]
    assert (entry.word, found(shelf)["wild"].word) == ("better", "failed")
    assert entry.effect.mean == pytest.approx(1.0, abs=0.01)
    assert reference_comparison.format_comparison(entry).startswith("+1.0")
    text = reference_comparison.comparison_markdown(shelf.records())
    assert "`psnr` of the objective minus that of `anchor`, a difference of means over seeds in nats; above 0" in text
    assert "geometric" not in text


def test_a_ratio_is_read_as_a_ratio_and_each_kind_of_metric_by_its_own(shelf: Shelf) -> None:
    for name, kl in (("anchor", 0.3), ("entry", 0.1)):
        shelf.entry(name, kl, scale=0.1, **RULED)
    text = reference_comparison.comparison_markdown(shelf.records())
    assert "`kl` of the objective over that of `anchor`, a ratio of geometric means over seeds; below ×1" in text
    assert "above 0" not in text
    for name, level in (("anchor", 28.0), ("entry", 29.0)):
        for seed in range(5):
            metrics = {"psnr": {"last": estimate(level, better="higher", unit="dB")}}
            shelf.ran(name, seed, None, dataset="photos", metrics=metrics, **RULED)
    text = reference_comparison.comparison_markdown(shelf.records())
    assert "below ×1 is better. Each cell: `psnr`" in text
    assert "in dB; above 0" in text


KID = ((10.0, 10.1, 9.9, 10.2, 10.0), (30.0, 33.0, 31.0, -0.1, 30.5))


@pytest.mark.parametrize(("scale", "word"), [("ratio", "no ratio"), ("difference", "not separable")])
def test_a_value_below_zero_is_not_dropped(shelf: Shelf, scale: str, word: str) -> None:
    for name, values in zip(("anchor", "rival"), KID, strict=True):
        for seed, value in enumerate(values):
            metrics = {"kid": {"last": estimate(value, scale=scale, unit="")}}
            shelf.ran(name, seed, None, metrics=metrics, **RULED)
    rival = found(shelf)["rival"]
    assert rival.word == word
    assert rival.effect.mean == (None if scale == "ratio" else pytest.approx(14.84))
    text = reference_comparison.comparison_markdown(shelf.records())
    assert ("no ratio on line" in text) if scale == "ratio" else ("below 0 is better" in text)


def test_the_same_ratio_at_every_seed_is_no_proof(shelf: Shelf) -> None:
    for seed in range(5):
        shelf.ran("anchor", seed, 0.1 * (seed + 1), **RULED)
        shelf.ran("half", seed, 0.05 * (seed + 1), **RULED)
    half = found(shelf)["half"]
    assert (half.word, half.p_value) == ("not separable", None)
    assert reference_comparison.format_comparison(half) == "×0.5 (no spread): not separable"


def test_a_page_takes_the_verdict_between_its_markers(shelf: Shelf, tmp_path: Path) -> None:
    shelf.entry("anchor", 0.3, **RULED)
    shelf.entry("entry", 0.1, scale=0.1, **RULED)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:comparison toy -->\n<!-- bench:end -->\n", encoding="utf-8")
    assert blocks.refresh_page(page, shelf.records()) == []
    assert "`entry` against `anchor`: better on line" in page.read_text(encoding="utf-8")


def test_a_reference_must_be_among_the_objectives(tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text(
        'name = "mine"\nreference = "absent"\nobjectives = ["*"]\ndatasets = ["two_moons"]\n', encoding="utf-8"
    )
    with pytest.raises(UsageError, match="absent"):
        expand.plan_runs(schema.read_suite(str(suite)), expand.Selection(), "cpu")


def test_the_suites_that_share_a_store_do_not_change_each_others_words(shelf: Shelf) -> None:
    for seed in range(3):
        shelf.ran("anchor", seed, 0.2, suite="one", **RULED)
        shelf.ran("half", seed, 0.1 * (1 + 0.08 * seed), suite="one", **RULED)
    alone = found(shelf)["half"]
    for k in range(9):
        for seed in range(3):
            shelf.ran("anchor", seed, 0.2, dataset=f"line{k}", suite="two", **RULED)
            shelf.ran("other", seed, 0.2 + 0.01 * (seed - 1), dataset=f"line{k}", suite="two", **RULED)
    beside = found(shelf)["half"]
    assert beside == alone
    assert alone.word == "better"
