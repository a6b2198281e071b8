"""Intervals cover what they say, corrections hold their level, ranks are what their definition says."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from scipy import stats

from bench.common import statistics
from bench.common.statistics import (
    Scale,
    bootstrap_interval,
    equivalence_p,
    holm,
    interaction_p,
    median_bounds,
    median_interval,
    paired,
    seeds_to_decide,
    shared_ranks,
    success_rate,
    t_interval,
)

RUNS = 4000
MARGIN = 4 * math.sqrt(0.95 * 0.05 / RUNS)  # four standard errors of a coverage of 95 %


def samples(n: int, runs: int = RUNS) -> np.ndarray:
    return np.random.default_rng(n).normal(3.0, 2.0, (runs, n))


def bootstrap_coverage(n: int, runs: int = 400) -> float:
    found = [bootstrap_interval(list(row), draws=300) for row in samples(n, runs)]
    return float(np.mean([i.low <= 3.0 <= i.high for i in found if i.low is not None and i.high is not None]))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_t_interval_covers_what_it_says(n: int) -> None:
    found = [t_interval(list(row)) for row in samples(n)]
    covered = np.mean([i.low <= 3.0 <= i.high for i in found if i.low is not None and i.high is not None])
    assert abs(covered - 0.95) < MARGIN


@pytest.mark.parametrize(("n", "covered"), [(3, 0.74), (5, 0.83)])
def test_a_percentile_bootstrap_of_few_seeds_does_not_and_is_refused(
    monkeypatch: pytest.MonkeyPatch, n: int, covered: float
) -> None:
    with pytest.raises(ValueError, match="at least 10 values"):
        bootstrap_interval([1.0] * n)
    monkeypatch.setattr(statistics, "BOOTSTRAP_MINIMUM", n)
    assert abs(bootstrap_coverage(n) - covered) < 4 * math.sqrt(covered * (1 - covered) / 400)


def test_a_percentile_bootstrap_of_many_values_covers_nearly_what_it_says() -> None:
    assert 0.88 < bootstrap_coverage(40) <= 0.99


def test_a_bootstrap_is_the_same_each_time_and_serves_any_statistic() -> None:
    values = list(np.random.default_rng(0).exponential(size=30))
    first = bootstrap_interval(values, np.median, draws=500)
    assert first == bootstrap_interval(values, np.median, draws=500)
    assert first.mean == np.median(values)


def test_one_seed_has_no_interval_but_a_word() -> None:
    assert (t_interval([2.0]).mean, t_interval([2.0]).low, t_interval([2.0]).word) == (2.0, None, "one seed")
    assert (t_interval([]).mean, t_interval([]).word) == (None, "no value")
    assert t_interval([2.0]).half_width is None


def test_t_intervals_and_paired_tests_agree_with_scipy() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 6))
    low, high = stats.t.interval(0.95, 5, loc=a.mean(), scale=stats.sem(a))
    found = t_interval(list(a))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert paired(list(a), list(b)).p_value == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_a_paired_test_takes_common_seeds_only() -> None:
    a, b = [1.0, 2.0, None, 4.0, 7.0], [0.5, None, 3.0, 3.0, 6.5]
    expected = stats.ttest_rel([1.0, 4.0, 7.0], [0.5, 3.0, 6.5])
    found = paired(a, b)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.difference.n, found.difference.mean) == (3, pytest.approx(2 / 3))
    assert paired([1.0, None], [None, 2.0]).p_value is None
    with pytest.raises(ValueError, match="aligned by seed"):
        paired([1.0], [1.0, 2.0])


@pytest.mark.parametrize(("a", "b"), [([1.0, 2.0], [2.0, 3.0]), ([0.3, 0.1, 0.7], [0.6, 0.2, 1.4])])
@pytest.mark.parametrize("scale", get_args(Scale))
def test_differences_without_spread_have_no_p_value_of_zero(a: list[float], b: list[float], scale: Scale) -> None:
    assert paired(a, a, scale=scale).p_value == 1.0
    by_rounding = paired(a, [value * (1 + 1e-8 * k) for k, value in enumerate(b)], scale=scale)
    if (scale == "difference") == (b[0] == 2.0):
        assert (by_rounding.p_value, by_rounding.difference.word) == (None, "no spread")
        assert by_rounding.difference.mean is not None
        assert shared_ranks({"a": a, "b": b}, scale=scale) == {"a": 1, "b": 1}


def test_a_ratio_with_a_value_that_is_not_positive_is_none_and_not_a_ratio_of_the_rest() -> None:
    anchor, rival = [10.0, 10.1, 9.9, 10.0, 10.2], [30.0, 33.0, 31.0, -0.1, 30.5]
    found = paired(rival, anchor, scale="ratio")
    assert (found.p_value, found.effect.mean, found.effect.word) == (None, None, "no ratio")
    assert (paired(rival, anchor).p_value or 0.0) > 0.01, "by difference the seed counts"
    assert shared_ranks({"anchor": anchor, "rival": rival}, scale="ratio") == {"anchor": 1, "rival": None}


def test_a_ratio_is_tested_on_logarithms_and_told_as_a_ratio() -> None:
    a, b = np.random.default_rng(1).lognormal(size=(2, 6))
    found = paired(list(a), list(b), scale="ratio")
    assert found.p_value == pytest.approx(stats.ttest_rel(np.log(a), np.log(b)).pvalue)
    assert found.effect.mean == pytest.approx(stats.gmean(a) / stats.gmean(b))
    assert found.effect.low is not None
    assert found.difference.low is not None
    assert found.effect.low == pytest.approx(math.exp(found.difference.low))


def test_a_noisy_entry_does_not_share_a_precise_ones_rank_by_its_noise() -> None:
    """.0247 ± .005 and .24 ± .17 (half-widths at five seeds), log-normal, among eight entries at .08."""
    generator, runs, shared = np.random.default_rng(0), 200, {"ratio": 0, "difference": 0}

    def draws(mean: float, half_width: float) -> list[float | None]:
        deviation = half_width * math.sqrt(5) / stats.t.ppf(0.975, 4)
        sigma = math.sqrt(math.log(1 + (deviation / mean) ** 2))
        return list(mean * np.exp(generator.normal(-(sigma**2) / 2, sigma, 5)))

    for _ in range(runs):
        values = {"precise": draws(0.0247, 0.0051), "noisy": draws(0.24, 0.17)}
        values |= {f"other{k}": draws(0.08, 0.05) for k in range(8)}
        for scale in get_args(Scale):
            ranks = shared_ranks(values, scale=scale)
            shared[scale] += ranks["noisy"] == ranks["precise"]
    assert shared["ratio"] <= 0.02 * runs
    assert shared["difference"] > 0.1 * runs, "what the scale is for"


@pytest.mark.parametrize(("count", "rate"), [(5, 0.08), (25, 0.18)])
def test_equal_entries_are_split_as_often_as_the_docstring_says(count: int, rate: float) -> None:
    generator, runs = np.random.default_rng(0), 600
    split = 0
    for run in generator.normal(size=(runs, count, 5)):
        ranks = shared_ranks({str(i): row.tolist() for i, row in enumerate(run)})
        split += max(rank or 0 for rank in ranks.values()) > 1
    assert abs(split / runs - rate) < 4 * math.sqrt(rate * (1 - rate) / runs)
    assert f"{rate:.0%}".replace("%", " %") in (shared_ranks.__doc__ or "")


@pytest.mark.parametrize("successes", range(6))
def test_a_success_rate_has_wilsons_interval(successes: int) -> None:
    expected = stats.binomtest(successes, 5).proportion_ci(method="wilson")
    found = success_rate(successes, 5)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.mean == successes / 5


def test_nothing_planned_has_no_rate() -> None:
    assert (success_rate(0, 0).mean, success_rate(0, 0).word) == (None, "nothing planned")


def test_holm_adjusts_as_in_the_textbook() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
    # two of five hypotheses could not be tested
    assert holm({"a": 0.01, "b": 0.04, "c": 0.011}, family=5) == pytest.approx({"a": 0.05, "c": 0.05, "b": 0.12})


def test_entries_that_do_not_differ_are_seldom_separated() -> None:
    """The chance of any separation at all among five alike entries: 5 %; without Holm's correction, above 20 %."""
    generator, runs = np.random.default_rng(0), 1000
    values = generator.normal(size=(runs, 5, 5))
    corrected = uncorrected = 0
    for run in values:
        entries: dict[str, list[float | None]] = {str(i): list(row) for i, row in enumerate(run)}
        corrected += max(rank or 0 for rank in shared_ranks(entries).values()) > 1
        pairs = itertools.combinations(entries.values(), 2)
        uncorrected += any((paired(a, b).p_value or 0) < 0.05 for a, b in pairs)
    assert corrected / runs < 0.1
    assert uncorrected / runs > 0.2


def entries(**means: float) -> dict[str, list[float | None]]:
    """Five seeds whose luck is shared and whose own noise is small: .01 about each mean."""
    generator = np.random.default_rng(0)
    luck = generator.normal(0, 1, 5)
    return {name: list(mean + luck + generator.normal(0, 0.01, 5)) for name, mean in means.items()}


def test_a_rank_is_one_more_than_the_number_of_significantly_better_entries() -> None:
    values = entries(first=0.0, also_first=0.005, third=1.0, last=2.0)
    assert shared_ranks(values) == {"first": 1, "also_first": 1, "third": 3, "last": 4}
    assert shared_ranks(values, "higher") == {"last": 1, "third": 2, "first": 3, "also_first": 3}


def test_pairing_by_seed_separates_what_the_spread_of_seeds_would_hide() -> None:
    values = entries(a=0.0, b=0.1)
    a, b = t_interval([v for v in values["a"] if v is not None]), t_interval([v for v in values["b"] if v is not None])
    assert a.high is not None
    assert b.low is not None
    assert a.high > b.low, "the intervals overlap"
    assert shared_ranks(values) == {"a": 1, "b": 2}


def test_an_entry_with_a_failed_seed_is_not_ranked_and_moves_nobody() -> None:
    values = entries(a=0.0, b=1.0)
    best: list[float | None] = [-9.0, -9.1, -9.05, -9.0, None]
    assert shared_ranks({**values, "lucky": best, "dead": [None] * 5}) == {"a": 1, "b": 2, "lucky": None, "dead": None}


def test_ranks_follow_the_means_however_noisy_an_entry_is() -> None:
    values: dict[str, list[float | None]] = {
        "best": [0.0, 0.01, -0.01, 0.0, 0.005],
        "noisy": [0.5, -3.0, 4.0, 6.0, 1.5],
        "second": [1.0, 1.02, 0.99, 1.01, 1.005],
    }
    assert shared_ranks(values) == {"best": 1, "second": 2, "noisy": 2}


def test_one_seed_ranks_nobody() -> None:
    assert shared_ranks({"a": [1.0], "b": [100.0]}) == {"a": None, "b": None}
    assert shared_ranks({"a": [1.0, 2.0], "b": [1.5, 1.2], "c": [0.5]}) == {"a": 1, "b": 1, "c": None}


def test_the_order_of_entries_does_not_matter() -> None:
    values = entries(a=0.0, b=0.02, c=0.5, d=0.02)
    for order in itertools.permutations(values):
        assert shared_ranks({name: values[name] for name in order}) == shared_ranks(values)


@pytest.mark.parametrize(
    ("values", "planned", "better", "expected"),
    [
        ([1.0, 2.0, 3.0], 3, "lower", (2.0, 2.0)),
        ([1.0, 2.0, 3.0], 5, "lower", (1.0, 3.0)),
        ([1.0, 2.0, 3.0], 5, "higher", (3.0, 1.0)),
        ([1.0, 2.0, 3.0], 4, "lower", (1.5, 2.5)),
        ([1.0, 2.0], 5, "lower", (None, None)),
        ([1.0], 2, "lower", (None, None)),
        ([], 0, "lower", (None, None)),
    ],
)
def test_a_median_is_bounded_by_what_failed_runs_might_have_given(
    values: list[float], planned: int, better: statistics.Better, expected: tuple[float | None, float | None]
) -> None:
    assert median_bounds(values, planned, better) == expected


@pytest.mark.parametrize("n", [6, 9, 20])
def test_a_medians_interval_covers_at_least_what_it_says(n: int) -> None:
    found = [median_interval(list(row)) for row in np.random.default_rng(n).exponential(size=(RUNS, n))]
    covered = np.mean([i.low <= math.log(2) <= i.high for i in found if i.low is not None and i.high is not None])
    assert covered > 0.95 - MARGIN


def test_scipys_slow_part_is_not_loaded() -> None:
    code = "import sys, bench.common.statistics as s; s.t_interval([1., 2.]); sys.exit('scipy.stats' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_paired_test_of_alike_entries_errs_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    luck = generator.normal(0, 5, (RUNS, 1, 5))  # what a seed does to both entries cancels
    pairs = luck + generator.normal(size=(RUNS, 2, 5))
    p_values = np.array([paired(list(a), list(b)).p_value for a, b in pairs], dtype=float)
    assert abs(np.mean(p_values <= 0.05) - 0.05) < MARGIN
    assert abs(np.mean(p_values <= 0.5) - 0.5) < 4 * math.sqrt(0.25 / RUNS)


def test_holm_errs_anywhere_as_rarely_as_it_says() -> None:
    p_values = np.random.default_rng(3).uniform(size=(RUNS, 10))
    wrong = np.mean([min(holm(dict(enumerate(row))).values()) <= 0.05 for row in p_values])
    assert abs(wrong - (1 - (1 - 0.05 / 10) ** 10)) < MARGIN
    assert np.mean((p_values <= 0.05).any(1)) > 0.35, "without it"


@pytest.mark.parametrize(("better", "ranks"), [("lower", {"a": 1, "b": 2}), ("higher", {"a": 2, "b": 1})])
def test_a_worse_entry_more_moves_nobody_above_it(better: statistics.Better, ranks: dict[str, int]) -> None:
    values = entries(a=0.0, b=1.0, worse=9.0 if better == "lower" else -9.0)
    assert shared_ranks(values, better) == {**ranks, "worse": 3}
    del values["worse"]
    assert shared_ranks(values, better) == ranks


@pytest.mark.parametrize(("n", "planned"), [(3, 3), (3, 4), (3, 5), (2, 3), (5, 8)])
def test_a_median_lies_in_its_bounds_whatever_the_failed_runs_would_have_given(n: int, planned: int) -> None:
    generator, failed = np.random.default_rng(planned), planned - n
    values = generator.normal(size=n).tolist()
    best, worst = median_bounds(values, planned)
    assert best == np.median([*values, *[-1e9] * failed])
    assert worst == np.median([*values, *[1e9] * failed])
    assert best is not None
    assert worst is not None
    for fill in generator.normal(0, 3, (200, failed)):
        assert best <= np.median([*values, *fill]) <= worst


def test_a_medians_interval_is_the_narrowest_that_covers_enough() -> None:
    assert (median_interval([3.0, 1.0, 2.0, 5.0, 4.0]).low, median_interval([1.0]).word) == (None, "too few rounds")
    six = median_interval([6.0, 3.0, 1.0, 2.0, 5.0, 4.0])  # covers with 1 - 2 / 2^6 = .969
    assert (six.mean, six.low, six.high) == (3.5, 1.0, 6.0)
    nine = median_interval([float(i) for i in range(1, 10)])  # 1 - 2 (1 + 9) / 2^9 = .961; a step further in: .82
    assert (nine.mean, nine.low, nine.high) == (5.0, 2.0, 8.0)
    assert median_interval([]).word == "no value"


def test_equivalence_is_shown_as_rarely_as_it_says_at_the_margin_and_often_within() -> None:
    generator = np.random.default_rng(4)
    at_margin = [equivalence_p(row.tolist(), 0.2) or 1.0 for row in generator.normal(0.2, 0.2, (RUNS, 8))]
    assert abs(np.mean(np.array(at_margin) <= 0.05) - 0.05) < MARGIN
    within = [equivalence_p(row.tolist(), 0.2) or 1.0 for row in generator.normal(0.0, 0.1, (RUNS, 8))]
    assert np.mean(np.array(within) <= 0.05) > 0.9
    one_sided = stats.ttest_1samp(values := [0.05, 0.1, -0.02, 0.07], 0.2, alternative="less")
    assert equivalence_p(values, 0.2) == pytest.approx(one_sided.pvalue)
    assert equivalence_p([0.1], 0.2) is None
    assert equivalence_p([0.1, 0.1], 0.2) is None


def test_an_interaction_is_a_repeated_measures_f_where_spreads_are_equal() -> None:
    values = np.random.default_rng(5).normal(size=(400, 3))
    found = interaction_p(values)
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    ratio = 400 * values.mean(0).var(ddof=1) / (np.sum(rest**2) / (399 * 2))
    assert found == pytest.approx(stats.f.sf(ratio, 2, 399 * 2), abs=0.005)
    assert interaction_p(np.ones((5, 3))) is None
    assert interaction_p(values[:1]) is None
    assert interaction_p(values + np.array([0.0, 0.0, 1.0])) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("n", "count"), [(5, 4), (16, 4), (16, 8)])
@pytest.mark.parametrize("skewed", [False, True])
def test_an_interaction_is_found_at_most_as_often_as_it_says_under_unequal_spreads(
    n: int, count: int, skewed: bool
) -> None:
    generator = np.random.default_rng(6)
    draws = generator.exponential(size=(1000, n, count)) - 1 if skewed else generator.normal(size=(1000, n, count))
    found = [interaction_p(run) or 0.0 for run in draws * np.linspace(0.2, 1, count)]
    assert np.mean(np.array(found) <= 0.05) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize(
    ("mean", "deviation", "margin"), [(0.4, 0.5, None), (0.0, 0.3, math.log(1.25)), (-0.02, 0.2, 0.2)]
)
def test_the_seeds_that_would_decide_do_decide_four_times_in_five(
    mean: float, deviation: float, margin: float | None
) -> None:
    n = seeds_to_decide(mean, deviation, 0.05, margin)
    assert n is not None
    draws = np.random.default_rng(7).normal(mean, deviation, (2000, n))
    different = stats.ttest_1samp(draws, 0.0, axis=1).pvalue <= 0.05
    within = [margin is not None and (equivalence_p(row.tolist(), margin) or 1.0) <= 0.05 for row in draws]
    power = np.mean(different | np.array(within))
    assert 0.77 < power < 0.95
    assert seeds_to_decide(0.0, 1.0, 0.05) is None
    assert seeds_to_decide(0.01, 1.0, 0.05, most=50) is None
    assert seeds_to_decide(0.3, 0.0, 0.05) is None
