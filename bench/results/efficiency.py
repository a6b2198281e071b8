"""Quality against cost, from rows and curves alone: what a target costs, and what nothing beats at its price."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import pandas as pd

from bench.results import leaderboard
from bench.results.records import Record, group_cells
from bench.results.store import Store

MEASURE = "kl_ema"  # of a curve; falls from about 2 nats in an untrained energy of the plane
TARGETS = (1.0, 0.3, 0.1)  # nats; fixed, so that no entry moves another's
COSTS = {"flops": "gflops", "train_seconds": "train_seconds"}  # in a curve: in the leaderboard
_GIGA = 1e9


def cost_of(curve: Iterable[Mapping[str, Any]], target: float, along: str, measure: str = MEASURE) -> float:
    """What had been spent at the first checkpoint whose measure was at or below the target; infinite if none was.

    Args:
        along: "step", "forwards", "flops" or "train_seconds".
    """
    reached = (point for point in curve if point.get(measure) is not None and point[measure] <= target)
    first = next(iter(reached), None)
    return math.inf if first is None else float(first[along])


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which (cost, loss) no other beats: none is cheaper and as good, or as cheap and better."""
    return [not any(other[0] <= own[0] and other[1] <= own[1] and other != own for other in points) for own in points]


def efficiency_frame(store: Store, records: Sequence[Record]) -> pd.DataFrame:
    """efficiency.csv: one line per suite, objective and data set.

    `pareto_gflops` and `pareto_train_seconds`: whether no ranked entry of the data set is cheaper and as good, by the
    mean of the primary metric; absent for what is not ranked. `gflops_to_kl_0.3` and the like: the median over the
    planned seeds of what it cost to bring the averaged weights' KL to so many nats, as seen at checkpoints; absent
    where half of the seeds or more did not get there. `reached_kl_0.3`: how many did.
    """
    board = leaderboard.leaderboard_frame(records)
    cells = group_cells(records)
    keys = ["suite", "track", "device", "objective", "dataset"]
    lines: list[dict[str, Any]] = []
    for entry in board.to_dict("records"):
        cell = cells[entry["suite"], entry["track"], entry["device"], entry["objective"], entry["dataset"]]
        planned = [record for record in cell.records if record.status != "skipped"]
        curves = [_curve(store, record) for record in planned]
        line = {k: entry[k] for k in (*keys, "metric", "mean", "rank", *COSTS.values())}
        for target in TARGETS:
            for along, name in COSTS.items():
                costs = [cost_of(curve, target, along) / (_GIGA if along == "flops" else 1) for curve in curves]
                middle = median(costs) if costs else math.inf
                line[f"{name}_to_kl_{target:g}"] = middle if math.isfinite(middle) else None
            line[f"reached_kl_{target:g}"] = sum(math.isfinite(cost) for cost in costs)
        lines.append(line)
    found = pd.DataFrame(lines)
    for cost in COSTS.values():
        found[f"pareto_{cost}"] = pd.Series([None] * len(found), index=found.index, dtype="boolean")
        for _, group in board.groupby(["suite", "track", "device", "dataset"], sort=False):
            ranked = group[group["rank"].notna() & group[cost].notna()]
            sign = -1.0 if len(group) and group["better"].iloc[0] == "higher" else 1.0
            points = [(float(c), sign * float(m)) for c, m in zip(ranked[cost], ranked["mean"], strict=True)]
            found.loc[ranked.index, f"pareto_{cost}"] = front(points)
    return found


def _curve(store: Store, record: Record) -> list[dict[str, Any]]:
    """The curve of the attempt whose row counts; none of a run that failed, for it would flatter it."""
    if record.status != "ok":
        return []
    attempt = record.attempt or store.newest_attempt(record.run)
    return [] if attempt is None else attempt.curve()
