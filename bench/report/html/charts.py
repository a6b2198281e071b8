"""What the page's charts draw: plain numbers per data set and objective. The script of the page only lays them out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from bench.common.run_spec import BY_CLOCK
from bench.common.statistics import t_interval
from bench.results import labels, leaderboard
from bench.results.metric_values import MetricKey, preferred
from bench.results.records import Cell, Record, group_cells, metric_basis
from bench.results.standings import Standing
from bench.results.store import Store

GIGA = 1e9
COSTS = {
    "flops_train": ("counted work of training", "GFLOPs"),
    "train_seconds": ("training time", "s"),
    "peak_memory_mb": ("peak memory", "MB"),
    "forwards": ("forward passes", ""),
    "input_gradients": ("input gradients", ""),
}
# what a track makes the same for all
SPENT = {"equal_flops": "flops_train"} | dict.fromkeys(BY_CLOCK, "train_seconds")
CURVES = ("kl_ema", "valid_nll_ema")  # what a checkpoint may have recorded, the surest first
ALONG = {"step": "steps", "flops": "counted GFLOPs", "train_seconds": "training seconds"}


def charts(
    store: Store, records: Sequence[Record], standings: Sequence[Standing], seeds: Collection[int] | None = None
) -> dict[str, Any]:
    """The scatter of quality, cost and proxies, and the learning curves, of one board.

    Args:
        seeds: whose values are drawn one by one, and whose curves are read, if not all; means stand on all.
    """
    cells = {(key[3], key[4]): cell for key, cell in group_cells(records).items()}
    datasets = list(dict.fromkeys(record.dataset for record in records))
    keys = _keys(records)
    metrics = _metrics(records, keys)
    primary = {
        dataset: _column(leaderboard.primary_key(r for r in records if r.dataset == dataset), metrics)
        for dataset in datasets
    }
    axes = {name: {"label": label, "unit": unit, "better": "lower"} for name, (label, unit) in COSTS.items()}
    points: dict[str, list[dict[str, Any]]] = {dataset: [] for dataset in datasets}
    curves: dict[str, list[dict[str, Any]]] = {dataset: [] for dataset in datasets}
    for number, standing in enumerate(standings, start=1):
        for dataset in datasets:
            cell = cells.get((standing.objective, dataset))
            if cell is None or not cell.completed:
                continue
            drawn = [record for record in cell.completed if seeds is None or record.spec.seed in seeds]
            points[dataset].append({"number": number, "values": _values(cell, drawn, keys)})
            curve = _curve(store, drawn)
            if curve:
                curves[dataset].append({"number": number, **curve})
    return {
        "datasets": [{"id": name, "name": labels.display_name(name), "primary": primary[name]} for name in datasets],
        "axes": axes | metrics,
        "costs": sorted(COSTS, key=lambda cost: cost == SPENT.get(str(records[0].spec.track))),
        "metrics": list(metrics),
        "points": points,
        "curves": curves,
        "along": ALONG,
    }


def _column(key: MetricKey | None, metrics: dict[str, Any]) -> str:
    return key.column if key else next(iter(metrics), "")


def _keys(records: Sequence[Record]) -> list[MetricKey]:
    """The metrics that have a value, each by the preferred weights."""
    found = {key for record in records for key, value in record.values.items() if value.value is not None}
    chosen = (preferred(found, metric, part) for metric, part in sorted({key[:2] for key in found}))
    return [key for key in chosen if key]


def _metrics(records: Sequence[Record], keys: Sequence[MetricKey]) -> dict[str, dict[str, str]]:
    """By column: what the axis is called, its unit, and which way is better."""
    found = {}
    for key in keys:
        about = next(record.values[key] for record in records if key in record.values)
        label = ", ".join(filter(None, [_words(key.column), metric_basis(records, key)]))
        found[key.column] = {"label": label, "unit": about.unit, "better": about.better}
    return found


def _words(name: str) -> str:
    return name.removesuffix("_best").replace("_", " ")


def _values(cell: Cell, drawn: Sequence[Record], keys: Sequence[MetricKey]) -> dict[str, Any]:
    """By axis: the value at each seed; where the large mark stands; the interval's ends; how many are uncertified."""
    values: dict[str, Any] = {}
    for name in COSTS:
        unit = GIGA if name == "flops_train" else 1.0
        seeds = [None if (v := record.measured()[name]) is None else v / unit for record in drawn]
        middle = cell.median(name)
        values[name] = {"seeds": seeds, "at": None if middle is None else middle / unit}
    for key in keys:
        interval = t_interval(cell.numbers(key))
        values[key.column] = {
            "seeds": [record.value(key).value for record in drawn],
            "n": interval.n,
            "at": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "uncertified": cell.uncertified(key),
        }
    return values


def _curve(store: Store, records: Sequence[Record]) -> dict[str, Any] | None:
    """Median and range over seeds at each checkpoint, with the median FLOPs and seconds that it took."""
    lines: list[dict[str, Any]] = []
    for record in records:
        attempt = record.attempt or store.newest_attempt(record.run)
        lines += [{**point, "checkpoint": k} for k, point in enumerate(attempt.curve() if attempt else [])]
    measure = next((m for m in CURVES if any(line.get(m) is not None for line in lines)), None)
    if measure is None:
        return None
    points = pd.DataFrame([line for line in lines if line.get(measure) is not None])
    by_checkpoint = points.groupby("checkpoint")
    middle, low, high = (getattr(by_checkpoint[measure], how)() for how in ("median", "min", "max"))
    x = {name: by_checkpoint[name].median() for name in ALONG if name in points}
    if "flops" in x:
        x["flops"] = x["flops"] / GIGA
    return {
        "measure": {"kl_ema": "KL(p‖q), nats, averaged weights", "valid_nll_ema": "NLL, nats, averaged weights"}[
            measure
        ],
        "x": {name: _short(values) for name, values in x.items()},
        "middle": _short(middle),
        "low": _short(low),
        "high": _short(high),
    }


def _short(values: Any) -> list[float]:
    """Five digits are more than a screen shows, and half the page's size."""
    return [float(f"{value:.5g}") for value in values]
