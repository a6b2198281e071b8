"""A proxy against the truth: how far a metric orders the objectives as the one does that ranks their data set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.results.boards import group_boards
from bench.results.leaderboard import primary_key
from bench.results.metric_values import preferred
from bench.results.records import Record, by_dataset

LEAST = 5  # objectives, or runs; a rank correlation of fewer says nothing
LIKELIHOODS = ("kl", "nll", "nll_ais")  # what a proxy stands for, and is therefore no proxy itself


def agreement(charts: Mapping[str, Any], controls: Sequence[int]) -> pd.DataFrame:
    """Spearman's rank correlation over objectives, a line a metric and a column a data set; empty without any.

    1: the same order as by the metric that ranks; 0: none; both turned so that less is better. Objectives with an
    uncertified value in either, and controls, are left out.

    Args:
        charts: of one board, as `report_charts.charts` makes them.
        controls: the numbers of the entries that are controls.
    """
    lines = []
    for name in charts["metrics"]:
        found: dict[str, Any] = {
            dataset["name"]: _correlation(charts["points"][dataset["id"]], name, dataset["primary"], charts, controls)
            for dataset in charts["datasets"]
        }
        if any(value is not None for value in found.values()):
            lines.append({"metric": charts["axes"][name]["label"], **found})
    return pd.DataFrame(lines)


def over_runs(records: Sequence[Record]) -> pd.DataFrame:
    """Every proxy beside the truth, a line a run: dataset, metric, truth, proxy; both turned so that less is better.

    Each is less the median of its seed's runs, which saw the same test points: a likelihood of these differs from seed
    to seed by more than good models do. The truth is what ranks the data set. Runs without one of the values, with one
    that is not certified, controls and reference fits are left out; so is a metric that `LEAST` runs do not have.
    """
    lines = []
    for dataset, own in by_dataset(records).items():
        truth = primary_key(own)
        keys = {key for record in own for key in record.values}
        chosen = {preferred(keys, metric, part) for metric, part in {key[:2] for key in keys}} - {None, truth}
        for record in own:
            if record.status != "ok" or record.spec.unranked or truth is None:
                continue
            for key in sorted(key for key in chosen if key):
                values = record.value(truth), record.value(key)
                if all(v.value is not None and v.certified for v in values):
                    right, proxy = (float(v.value or 0) * (1 if v.better == "lower" else -1) for v in values)
                    lines.append((dataset, key.stem, record.spec.seed, right, proxy))
    frame = pd.DataFrame(lines, columns=["dataset", "metric", "seed", "truth", "proxy"])
    frame[["truth", "proxy"]] -= frame.groupby(["dataset", "metric", "seed"])[["truth", "proxy"]].transform("median")
    frame = frame.drop(columns="seed")
    many = frame.groupby(["dataset", "metric"])["proxy"].transform("size") >= LEAST
    return frame[many].reset_index(drop=True)


def over_suites(records: Sequence[Record]) -> pd.DataFrame:
    """`over_runs` of every suite that ranks by a likelihood, with a column suite; data sets are named with it."""
    frames = []
    for board in group_boards(records).values():
        own = [part for part in by_dataset(board.records).values() if _by_likelihood(part)]
        found = over_runs([record for part in own for record in part])
        suite = board.records[0].spec.suite
        frames.append(found.assign(dataset=f"{suite}, " + found["dataset"].astype(str), suite=suite))
    columns = ["dataset", "metric", "truth", "proxy", "suite"]
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def rank_correlations(runs: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation by metric, of `over_runs`, best first.

    correlation: the mean of those within a data set; lowest, highest: of those; datasets, runs: how many.
    """
    lines = []
    for metric, own in runs.groupby("metric"):
        within = [part["truth"].rank().corr(part["proxy"].rank()) for _, part in own.groupby("dataset")]
        known = [value for value in within if not pd.isna(value)]
        if known:
            mean, ends = sum(known) / len(known), (min(known), max(known))
            lines.append((str(metric), mean, *ends, len(known), len(own)))
    found = pd.DataFrame(lines, columns=["metric", "correlation", "lowest", "highest", "datasets", "runs"])
    return found.sort_values(["correlation", "metric"], ascending=[False, True], ignore_index=True)


def which_to_believe(found: pd.DataFrame, candidates: Collection[str]) -> str:
    """One sentence of `rank_correlations`: which proxy orders runs most like the likelihood, and which least.

    Likelihoods themselves are no proxies, and one of fewer than half as many data sets as the widest is left out.
    Empty where fewer than two are left.

    Args:
        candidates: metrics that need nothing that a user with data alone lacks.
    """
    proxies = found[found["metric"].isin(set(candidates) - set(LIKELIHOODS))]
    proxies = proxies[proxies["datasets"] >= proxies["datasets"].max() / 2]
    if len(proxies) < 2:
        return ""
    ordered = proxies.sort_values(["correlation", "metric"], ascending=[False, True]).to_dict("records")
    best, last = ({str(k): v for k, v in line.items()} for line in (ordered[0], ordered[-1]))
    return (
        f"With data alone, believe `{best['metric']}` first: its rank correlation with the likelihood over runs is"
        f" {best['correlation']:+.2f} on average over {best['datasets']} data sets and {best['lowest']:+.2f} on the "
        f"worst; believe `{last['metric']}` last ({last['correlation']:+.2f}, {last['lowest']:+.2f} on the worst)."
    )


def _by_likelihood(records: Sequence[Record]) -> bool:
    truth = primary_key(records)
    return truth is not None and truth.metric in LIKELIHOODS


def _correlation(
    points: Sequence[Mapping[str, Any]],
    proxy: str,
    truth: str,
    charts: Mapping[str, Any],
    controls: Sequence[int],
) -> float | None:
    sides: dict[str, list[float]] = {proxy: [], truth: []}
    if len(sides) < 2:  # the truth against itself
        return None
    for point in points:
        values = [point["values"].get(name, {}) for name in sides]
        if point["number"] in controls or any(v.get("at") is None or v["uncertified"] for v in values):
            continue
        for name, value in zip(sides, values, strict=True):
            sides[name].append(value["at"] if charts["axes"][name]["better"] == "lower" else -value["at"])
    ranks = [pd.Series(values).rank() for values in sides.values()]
    if len(ranks[0]) < LEAST or any(rank.nunique() == 1 for rank in ranks):
        return None
    return round(float(ranks[0].corr(ranks[1])), 2)
