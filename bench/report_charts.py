"""What the page's charts draw: plain numbers per data set and objective. The script of the page only lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench import plots, table
from bench.leaderboard import Standing
from bench.statistics import t_interval
from bench.store import Store
from bench.table import Record

GIGA = 1e9
COSTS = {
    "flops_train": ("counted work of training", "GFLOPs"),
    "train_seconds": ("training time", "s"),
    "peak_memory_mb": ("peak memory", "MB"),
    "forwards": ("forward passes", ""),
    "input_gradients": ("input gradients", ""),
}
SPENT = {"equal_flops": "flops_train", "equal_seconds": "train_seconds"}  # what a track makes the same for all
CURVES = ("kl_ema", "valid_nll_ema")  # what a checkpoint may have recorded, the surest first
ALONG = {"step": "steps", "flops": "counted GFLOPs", "train_seconds": "training seconds"}


def charts(store: Store, records: Sequence[Record], standings: Sequence[Standing]) -> dict[str, Any]:
    """The scatter of quality, cost and proxies, and the learning curves, of one board."""
    cells = {(key[3], key[4]): cell for key, cell in table.cells(records).items()}
    datasets = list(dict.fromkeys(record.run.dataset for record in records))
    metrics = _metrics(records)
    primary = {
        dataset: table.primary(r for r in records if r.run.dataset == dataset) or next(iter(metrics), "")
        for dataset in datasets
    }
    axes = {name: {"label": label, "unit": unit, "better": "lower"} for name, (label, unit) in COSTS.items()}
    points: dict[str, list[dict[str, Any]]] = {dataset: [] for dataset in datasets}
    curves: dict[str, list[dict[str, Any]]] = {dataset: [] for dataset in datasets}
    for number, standing in enumerate(standings, start=1):
        for dataset in datasets:
            cell = cells.get((standing.objective, dataset))
            if cell is None or not cell.succeeded:
                continue
            points[dataset].append({"number": number, "values": _values(cell, metrics)})
            curve = _curve(store, cell.succeeded)
            if curve:
                curves[dataset].append({"number": number, **curve})
    return {
        "datasets": [{"id": name, "name": plots.words(name), "primary": primary[name]} for name in datasets],
        "axes": axes | metrics,
        "costs": sorted(COSTS, key=lambda cost: cost == SPENT.get(str(records[0].run.spec["track"]))),
        "metrics": list(metrics),
        "points": points,
        "curves": curves,
        "along": ALONG,
    }


def _metrics(records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """The columns of the chosen weights, or of the only ones there are; with unit and which way is better."""
    found: dict[str, dict[str, str]] = {}
    for record in records:
        for name, estimate in record.estimates().items():
            if estimate.get("value") is not None:
                found[name] = {"unit": estimate.get("unit", ""), "better": estimate.get("better", "lower")}
    stems = {name.removesuffix("_ema").removesuffix("_best") for name in found}
    chosen = [next(stem + s for s in ("_best", "_ema", "") if stem + s in found) for stem in sorted(stems)]
    bases = {name: ", ".join(filter(None, [_words(name), table.bases(records, name)])) for name in chosen}
    return {name: {"label": bases[name], **found[name]} for name in chosen}


def _words(name: str) -> str:
    return name.removesuffix("_best").replace("_", " ")


def _values(cell: table.Cell, metrics: dict[str, Any]) -> dict[str, Any]:
    """By axis: the value at each seed; where the large mark stands; the interval's ends; how many are uncertified."""
    values: dict[str, Any] = {}
    for name in COSTS:
        unit = GIGA if name == "flops_train" else 1.0
        seeds = [None if (v := record.measured()[name]) is None else v / unit for record in cell.succeeded]
        middle = cell.median(name)
        values[name] = {"seeds": seeds, "at": None if middle is None else middle / unit}
    for name in metrics:
        estimates = [record.estimate(name).get("value") for record in cell.succeeded]
        interval = t_interval(cell.numbers(name))
        values[name] = {
            "seeds": estimates,
            "at": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "uncertified": cell.uncertified(name),
        }
    return values


def _curve(store: Store, records: Sequence[Record]) -> dict[str, Any] | None:
    """Median and range over seeds at each checkpoint, with the median FLOPs and seconds that it took."""
    lines: list[dict[str, Any]] = []
    for record in records:
        attempt = plots.newest(store, record.run)
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
