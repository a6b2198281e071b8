"""What a training step costs along batch, width and dimension, each line named at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from bench.report.figures.layout import Sheet, few_ticks, width

COLUMNS = {"batch": "batch", "width": "network", "dim": "dim"}
_WORDS = {"batch": "batch", "width": "width", "dim": "dimension"}
_PANEL, _LEAST, _GAP, _LEFT, _HEAD, _FOOT = 4.0, 4.6, 0.2, 0.75, 0.5, 0.5  # inches
_SIZE, _PITCH = 7.5, 0.135  # of names in points, and from one to the next in inches


def figure(measured: pd.DataFrame) -> Figure:
    """Draws a panel for each axis of the measurement, logarithmic both ways, one line an objective.

    Args:
        measured: a line for each objective, axis ("batch", "width" or "dim") and value along it: batch, network with
            its width in the label, dim, and step_ms in milliseconds; names as a reader writes them.
    """
    names = list(dict.fromkeys(measured["objective"]))
    palette = dict(zip(names, sns.husl_palette(len(names), l=0.5), strict=True))
    high = max(_LEAST, _PITCH * (len(names) + 1))
    tied = 0.4
    wide = _LEFT + len(COLUMNS) * (_PANEL + _GAP) + tied + max(width(name, _SIZE) for name in names) + 0.1
    sheet = Sheet.of(wide, _HEAD + high + _FOOT)
    sheet.text(wide / 2, 0.08, "What a training step costs", 11, ha="center")
    limits = 0.8 * measured["step_ms"].min(), 1.25 * measured["step_ms"].max()
    for k, (label, column) in enumerate(COLUMNS.items()):
        axis = sheet.axes(_LEFT + k * (_PANEL + _GAP), _HEAD, _PANEL, high)
        panel = measured[measured["axis"] == label]
        for name, line in panel.groupby("objective", sort=False):
            x = line[column].str.extract(r"width=(\d+)")[0].astype(int) if label == "width" else line[column]
            axis.plot(x, line["step_ms"], marker="o", ms=3, lw=1.2, color=palette[name])
        axis.set(xscale="log", yscale="log", ylim=limits)
        axis.margins(x=0.02)
        few_ticks(axis)
        axis.tick_params(labelsize=8, labelleft=k == 0, pad=1)
        axis.set_xlabel(_WORDS[label], fontsize=9)
        if k == 0:
            axis.set_ylabel("ms a step", fontsize=9)
    last = measured[measured["axis"] == list(COLUMNS)[-1]].groupby("objective", sort=False)["step_ms"].last()
    _name_ends(axis, last, palette, _PITCH / high)
    return sheet.figure


def spread(values: Sequence[float], step: float) -> list[float]:
    """Values in [0, 1] moved to at least `step` from each other, in their order, as little as can be in squares.

    There must be room for all of them.
    """
    order = np.argsort(values, kind="stable")
    steps = step * np.arange(len(order))
    # what must rise by a step each is, less the steps, what must not fall
    level = isotonic_regression(np.asarray(values, dtype=float)[order] - steps).x
    found = np.empty(len(order))
    found[order] = np.clip(level, 0.0, 1.0 - steps[-1]) + steps
    return [float(v) for v in found]


def _name_ends(axis: Axes, ends: pd.Series, palette: dict[str, tuple[float, float, float]], step: float) -> None:
    """Writes each line's name right of the axes, tied to where the line leaves them."""
    low, high = np.log(axis.get_ylim())
    heights = (np.log(ends.to_numpy()) - low) / (high - low)
    for name, start, height in zip(ends.index, heights, spread(list(heights), step), strict=True):
        look: dict[str, Any] = {"transform": axis.transAxes, "color": palette[name]}
        axis.plot([1.0, 1.07], [start, height], **look, lw=0.8, clip_on=False)
        axis.text(1.08, height, name, **look, fontsize=_SIZE, va="center")
