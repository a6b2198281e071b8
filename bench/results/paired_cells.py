"""Two cells compared over their common seeds, and how an effect is written."""

from __future__ import annotations

from bench.common.statistics import Comparison, Interval, Scale, paired
from bench.results.metric_values import MetricKey
from bench.results.records import Cell

ALPHA = 0.05
UNTESTED = ("under-fits", "no ratio", "failed", "reference failed", "not run")


def compare_cells(cell: Cell, rival: Cell, key: MetricKey | None, scale: Scale, level: float = 0.95) -> Comparison:
    """Student's paired comparison over the seeds of both."""
    ours, theirs = (values_by_seed(c, key) for c in (cell, rival))
    seeds = sorted(ours.keys() & theirs.keys())
    return paired([ours[s] for s in seeds], [theirs[s] for s in seeds], level, scale)


def values_by_seed(cell: Cell, key: MetricKey | None) -> dict[int, float | None]:
    """The metric at each planned seed; None where there is no number."""
    return {record.spec.seed: value for record, value in zip(cell.records, cell.seeds(key), strict=True)}


def failure(cell: Cell, rival: Cell, key: MetricKey | None) -> str:
    """Why two cells cannot be compared, or "". A failed seed is not left out: that would reward failing.

    "failed" if a seed of the cell did, "reference failed" if one of the rival's did and none of the cell's.
    """
    if not all(side.records and not _unfinished(side) for side in (cell, rival)):
        return "not run"
    if None in cell.seeds(key) or cell.uncertified(key):
        return "failed"
    return "reference failed" if None in rival.seeds(key) or rival.uncertified(key) else ""


def _unfinished(cell: Cell) -> bool:
    return any(record.status in ("missing", "skipped") for record in cell.records)


def format_effect(effect: Interval, scale: Scale) -> str:
    """ "×0.35 (0.21 to 0.6)", "+1.02 (+0.80 to +1.20)", or with the word that stands in the interval's place."""
    mean, low, high = (_rounded(value, scale) for value in (effect.mean, effect.low, effect.high))
    sign = "×" if scale == "ratio" else ""
    if not low or not high:
        return f"{sign}{mean} ({effect.word})"
    return f"{sign}{mean} ({low} to {high})"


def _rounded(value: float | None, scale: Scale) -> str:
    if value is None:
        return ""
    if scale != "ratio":
        return f"{value:+.2f}"
    short = f"{value:.2g}"
    return short if short != "1" else f"{value:.3f}"  # which side of 1 it lies on is the answer
