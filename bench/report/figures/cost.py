"""Quality against cost: the Pareto front as a line with names, everything else pale and numbered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.figures.labels import BELOW, Box, Label, place
from bench.report.figures.layout import Sheet, few_ticks, folded, is_low, lines_high, named, split, wrapped

LEAST = 1e-6  # nats
COSTS = {"seconds": "training seconds", "gflops": "counted GFLOPs"}
_PANEL, _HEIGHT, _GAP, _LEFT = 5.2, 2.65, 0.15, 0.75  # inches
_PAIR = _LEFT + len(COSTS) * (_PANEL + _GAP)
_PITCH, _HEAD = 3.27, 0.6
_SIZE, _NUMBER = 8.0, 6.0  # points
_COLUMN = 2.6  # of the list of names, in inches

Line = tuple[str, str, str, float]  # of the list of names: text, number, family of a heading or an entry, size


def figure(runs: pd.DataFrame) -> Figure | None:
    """Draws the KL of the best weights against seconds and against FLOPs, two panels a data set, logarithmic.

    A marker is the median over seeds, its bar their range. The line joins what no other is both cheaper and better
    than; controls are no part of it. The height is at most `TALLEST` times the width.

    Args:
        runs: a line for each objective, family, control, dataset and seed, with kl in nats, seconds and gflops; names
            as a reader writes them.
    """
    runs = runs.dropna(subset=list(COSTS)) if len(runs) else runs
    if runs.empty:
        return None
    # what is within rounding of zero has no place on a logarithmic axis
    runs = runs.assign(kl=runs["kl"].clip(lower=LEAST))
    datasets = list(dict.fromkeys(runs["dataset"]))
    colours = _colours(runs)
    ordered = runs[["family", "objective"]].drop_duplicates().sort_values("family", kind="stable")
    numbers = {str(name): str(k) for k, name in enumerate(ordered["objective"], start=1)}
    sheet, pairs, listed = _laid_out(len(datasets), ordered, numbers)
    heading = "Quality against cost: lower left is better; marker: median, bar: range of seeds"
    heading += "; hollow: control" * bool(runs["control"].any())
    sheet.text(sheet.width / 2, 0.08, heading, 11, ha="center")
    for k, dataset in enumerate(datasets):
        row, pair = divmod(k, pairs)
        left, top = _LEFT + pair * _PAIR, _HEAD + row * _PITCH
        own = runs[runs["dataset"] == dataset]
        for j, (cost, words) in enumerate(COSTS.items()):
            axis = sheet.axes(left + j * (_PANEL + _GAP), top, _PANEL, _HEIGHT)
            _panel(axis, own, cost, colours, numbers)
            axis.set_xlabel(words, fontsize=8, labelpad=1)
            axis.set_title(dataset, fontsize=9, pad=3)
            axis.tick_params(labelsize=7, labelleft=j == 0, pad=1)
            if j == 0:
                axis.set_ylabel("KL(p‖q), nats, best weights", fontsize=8)
    _write_names(sheet, _HEAD + folded(len(datasets), pairs)[0] * _PITCH, listed, colours)
    return sheet.figure


def _laid_out(datasets: int, ordered: pd.DataFrame, numbers: Mapping[str, str]) -> tuple[Sheet, int, list[list[Line]]]:
    """The narrowest sheet that is low enough, how many data sets lie beside each other, and the columns of names."""
    for across in range(1, datasets + 1):
        rows, pairs = folded(datasets, across)
        wide = pairs * _PAIR + 0.1
        listed = _columns(ordered, numbers, int(wide // _COLUMN))
        high = _HEAD + rows * _PITCH + lines_high(max(len(column) for column in listed), _SIZE) + 0.2
        if is_low(wide, high):
            break
    return Sheet.of(wide, high), pairs, listed


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """The places of what nothing else is at most as dear and at most as bad as, cheapest first; ties keep the first."""
    order = sorted(range(len(costs)), key=lambda k: (costs[k], values[k]))
    found: list[int] = []
    for k in order:
        if not found or values[k] < values[found[-1]]:
            found.append(k)
    return found


def _colours(runs: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    families = sorted(runs["family"].unique())
    return dict(zip(families, sns.husl_palette(len(families), l=0.5, s=0.85), strict=True))


def _panel(axis: Axes, runs: pd.DataFrame, cost: str, colours: Mapping[str, Any], numbers: Mapping[str, str]) -> None:
    by_name = runs.groupby("objective", sort=False)
    medians = by_name[[cost, "kl"]].median()
    about = by_name[["family", "control"]].first()
    eligible = medians[~about["control"].astype(bool)]
    best = [str(eligible.index[k]) for k in front(list(eligible[cost]), list(eligible["kl"]))]
    spread = by_name["kl"].agg(["min", "max"])
    axis.set(xscale="log", yscale="log", xlim=_roomy(medians[cost], 0.13, 0.06))
    axis.set_ylim(spread["min"].min() / 2.5, medians["kl"].max() * 1.6)
    few_ticks(axis)
    axis.grid(lw=0.6, color="0.92")
    for name, (x, y) in zip(medians.index, medians[[cost, "kl"]].to_numpy(), strict=True):
        colour, leads = colours[about.loc[name, "family"]], name in best
        axis.plot([x, x], spread.loc[name], color=colour, lw=1.0, alpha=0.6 if leads else 0.2, zorder=2)
        face = "white" if about.loc[name, "control"] else colour
        look = {"s": 34, "zorder": 4} if leads else {"s": 14, "alpha": 0.45, "zorder": 3}
        axis.scatter(x, y, facecolor=face, edgecolor=colour, lw=0.8, **look)
    at = {str(name): (float(x), float(y)) for name, (x, y) in zip(medians.index, medians.to_numpy(), strict=True)}
    labels = [Label(split(name)[0], at[name], _SIZE, "0.05", "bold", 3.5, BELOW) for name in best]
    labels += [Label(numbers[name], at[name], _NUMBER, "0.4", radius=2.0) for name in at if name not in best]
    place(axis, labels, _stairs(axis, [at[name] for name in best]))


def _roomy(values: pd.Series, before: float, after: float) -> tuple[float, float]:
    """Limits of a logarithmic axis that leave parts of the values' span free on both sides, for names."""
    low, high = np.log(float(values.min())), np.log(float(values.max()))
    span = max(high - low, 1.0)
    return float(np.exp(low - before * span)), float(np.exp(high + after * span))


def _stairs(axis: Axes, corners: Sequence[tuple[float, float]]) -> list[Box]:
    """Draws the front through its members, cheapest first; returns it as thin boxes in points, to keep labels off."""
    figure = axis.get_figure()
    if not corners or figure is None:
        return []
    x, y = zip(*corners, strict=True)
    ends = [axis.get_ylim()[1], *y, y[-1]]
    axis.step([x[0], *x, axis.get_xlim()[1]], ends, where="post", color="0.35", lw=1.1, zorder=2.5)
    scale, frame = 72.0 / figure.dpi, axis.get_window_extent()
    points = axis.transData.transform(corners) * scale
    above, boxes = frame.y1 * scale, []
    for (left, low), right in zip(points, [*points[1:, 0], frame.x1 * scale], strict=True):
        boxes += [(left - 0.7, low, left + 0.7, above), (left, low - 0.7, right, low + 0.7)]
        above = low
    return boxes


def _columns(ordered: pd.DataFrame, numbers: Mapping[str, str], count: int) -> list[list[Line]]:
    """Families and their numbered names, in columns of about one length."""
    blocks: list[list[Line]] = []
    for family, own in ordered.groupby("family", sort=False):
        heading: list[Line] = [
            (text, "", str(family), _SIZE) for text in wrapped(str(family), _COLUMN - 0.2, _SIZE, "bold")
        ]
        for name in own["objective"]:
            lines = named(str(name), _COLUMN - 0.5)
            entry: list[Line] = [
                (text, numbers[str(name)] if k == 0 else " ", str(family), size) for k, (text, size) in enumerate(lines)
            ]
            # a heading stays with its first entry
            blocks.append([*heading, *entry])
            heading = []
    return _even(blocks, max(count, 1))


def _even(blocks: Sequence[list[Line]], count: int) -> list[list[Line]]:
    """Blocks in at most `count` columns, the longest as short as it can be."""
    limit = max(len(block) for block in blocks)
    while True:
        columns: list[list[Line]] = [[]]
        for block in blocks:
            if columns[-1] and len(columns[-1]) + len(block) > limit:
                columns.append([])
            columns[-1] += block
        if len(columns) <= count:
            return columns
        limit += 1


def _write_names(sheet: Sheet, top: float, columns: Sequence[Sequence[Line]], colours: Mapping[str, Any]) -> None:
    for k, column in enumerate(columns):
        left = 0.3 + k * (sheet.width - 0.3) / len(columns)
        for j, (text, number, family, size) in enumerate(column):
            at = top + lines_high(j, _SIZE)
            if number:
                sheet.text(left + 0.3, at, text, size)
                sheet.text(left + 0.24, at, number, size, ha="right", color=colours[family], weight="bold")
            else:
                sheet.mark(left + 0.05, at + 0.06, "o", colours[family], 6)
                sheet.text(left + 0.15, at, text, size, weight="bold", color=colours[family])
