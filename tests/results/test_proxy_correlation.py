"""The table of proxies says how far a metric orders the objectives as the metric does that ranks them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.figures import proxies
from bench.report.html import charts, page
from bench.results import leaderboard, proxy_correlation, standings
from tests.helpers.store_builder import Shelf, estimate

TRUTH = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def entry(shelf: Shelf, number: int, kl: float, proxies: dict[str, float], *, certified: bool = True) -> None:
    better = {name: "higher" if name == "likeness" else "lower" for name in proxies}
    metrics = {name: {"last": estimate(value, better=better[name])} for name, value in proxies.items()}
    metrics["kl"] = {"last": estimate(kl, certified=certified, reason="" if certified else "no")}
    shelf.ran(f"entry_{number}", 0, None, metrics=metrics)


def correlations(shelf: Shelf) -> dict[str, float]:
    records = shelf.records()
    order = standings.standings(leaderboard.leaderboard_frame(records))
    controls = [n for n, standing in enumerate(order, start=1) if standing.control]
    found = proxy_correlation.agreement(charts.charts(shelf.store, records, order), controls)
    return {} if found.empty else dict(zip(found["metric"], found["line"], strict=True))


def test_a_perfect_a_reversed_and_a_shuffled_proxy(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shuffled = [2.0, 1.0, 4.0, 3.0, 6.0, 5.0]  # Σd² = 6: 1 − 6·6 / (6·35)
    for number, (kl, other) in enumerate(zip(TRUTH, shuffled, strict=True)):
        entry(shelf, number, kl, {"square": kl**2, "reverse": -kl, "likeness": -kl, "shuffled": other})
    expected = {"square": 1.0, "reverse": -1.0, "likeness": 1.0, "shuffled": 1 - 36 / 210}
    assert correlations(shelf) == pytest.approx(expected, abs=0.005)


def test_an_uncertified_value_and_a_control_do_not_count(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number, kl in enumerate(TRUTH):
        entry(shelf, number, kl, {"proxy": kl})
    assert correlations(shelf) == {"proxy": pytest.approx(1.0)}
    entry(shelf, 9, 0.1, {"proxy": 99.0}, certified=False)
    wrong = {"kl": {"last": estimate(99.0)}, "proxy": {"last": estimate(0.0)}}
    shelf.ran("wrong", 0, None, control=True, metrics=wrong)
    assert correlations(shelf) == {"proxy": pytest.approx(1.0)}


def test_of_a_few_objectives_nothing_is_said(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number, kl in enumerate(TRUTH[: proxy_correlation.LEAST - 1]):
        entry(shelf, number, kl, {"proxy": kl})
    assert not correlations(shelf)
    assert "Proxies against the truth" not in page.render_page(shelf.store, shelf.records())
    entry(shelf, 9, 9.0, {"proxy": 9.0})
    assert "Proxies against the truth" in page.render_page(shelf.store, shelf.records())


def test_over_runs_a_perfect_and_a_reversed_proxy_and_nothing_that_is_not_certified(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number, kl in enumerate(TRUTH):
        entry(shelf, number, kl, {"square": kl**2, "reverse": -kl, "likeness": -kl})
    entry(shelf, 9, 0.1, {"square": 99.0, "reverse": 99.0, "likeness": 99.0}, certified=False)
    runs = proxy_correlation.over_runs(shelf.records())
    assert len(runs) == 3 * len(TRUTH)
    found = proxy_correlation.rank_correlations(runs).set_index("metric")
    assert found["correlation"].to_dict() == pytest.approx({"square": 1.0, "reverse": -1.0, "likeness": 1.0})
    drawn = proxies.figure(runs)
    assert drawn is not None
    titles = [ax.get_title() for ax in drawn.axes]
    assert "square\n+1.00, 6 runs" in titles
    assert proxies.figure(runs[:0]) is None


def test_the_sentence_names_the_best_and_the_worst_proxy_and_no_likelihood(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number, kl in enumerate(TRUTH):
        entry(shelf, number, kl, {"nll": kl, "square": kl**2, "reverse": -kl})
    runs = proxy_correlation.over_suites(shelf.records())
    assert set(runs["suite"]) == {shelf.records()[0].spec.suite}
    found = proxy_correlation.rank_correlations(runs)
    assert found.iloc[0]["correlation"] == pytest.approx(1.0)
    candidates = ["nll", "square", "reverse"]
    sentence = proxy_correlation.which_to_believe(found, candidates)
    assert "believe `square` first: its rank correlation with the likelihood over runs is +1.00" in sentence
    assert "believe `reverse` last (-1.00" in sentence
    assert not proxy_correlation.which_to_believe(found, candidates[:2])


def test_a_suite_that_ranks_by_no_likelihood_says_nothing_of_proxies(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number, value in enumerate(TRUTH):
        metrics = {name: {"last": estimate(value)} for name in ("energy_distance", "square")}
        shelf.ran(f"entry_{number}", 0, None, metrics=metrics)
    assert proxy_correlation.over_suites(shelf.records()).empty
    assert proxy_correlation.rank_correlations(proxy_correlation.over_suites(shelf.records())).empty


def test_what_differs_from_seed_to_seed_in_all_objectives_does_not_hide_their_order(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for seed, shift in enumerate((0.0, 50.0, -20.0)):
        for number, kl in enumerate(TRUTH):
            metrics = {"kl": {"last": estimate(kl + shift)}, "square": {"last": estimate(kl**2)}}
            shelf.ran(f"entry_{number}", seed, None, metrics=metrics)
    found = proxy_correlation.rank_correlations(proxy_correlation.over_runs(shelf.records()))
    assert found["correlation"].to_list() == pytest.approx([1.0])
