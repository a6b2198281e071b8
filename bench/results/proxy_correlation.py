"""A proxy against the truth: how far a metric orders the objectives as the one does that ranks their data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

LEAST = 5  # objectives; a rank correlation of fewer says nothing


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
