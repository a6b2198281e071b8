"""The verdict as a figure: every objective against its suite's reference, an interval a data set."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.verdict import Finding

COLOURS = {"better": "#11632f", "worse": "#a4161a", "not separable": "0.45"}


def forest(found: Sequence[Finding], words: Callable[[str], str], reference: str) -> Figure | None:
    """A row an objective, a panel a data set, better on the left: ratios on a logarithmic axis, else differences."""
    if not any(finding.effect.mean is not None for finding in found):
        return None
    objectives, datasets = (list(dict.fromkeys(getattr(f, name) for f in found)) for name in ("objective", "dataset"))
    size = (3.2 * len(datasets) + 3.4, 0.42 * len(objectives) + 1.5)
    figure, axes = plt.subplots(1, len(datasets), figsize=size, sharey=True, squeeze=False)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        own = [f for f in found if f.dataset == dataset]
        for finding in own:
            _interval(axis, objectives.index(finding.objective), finding)
        _scaled(axis, own[0])
        axis.set_title(textwrap.fill(words(dataset), 34), fontsize=9)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(visible=False, axis="y")
    names = [textwrap.fill(words(name), 44) for name in objectives]
    axes[0][0].set_yticks(range(len(objectives)), names, fontsize=8)
    axes[0][0].set_ylim(len(objectives) - 0.5, -0.5)
    figure.suptitle(f"Against {words(reference)}, with 95 % intervals: better on the left", fontsize=10, y=1.0)
    figure.tight_layout()
    return figure


def _interval(axis: Axes, row: int, finding: Finding) -> None:
    effect, colour = finding.effect, COLOURS.get(finding.word, "0.45")
    if effect.mean is None:
        axis.text(0.5, row, finding.word, transform=axis.get_yaxis_transform(), fontsize=8, ha="center", va="center")
        return
    if effect.low is not None and effect.high is not None:
        axis.plot([effect.low, effect.high], [row, row], color=colour, lw=2.2, alpha=0.55, solid_capstyle="round")
    axis.plot(effect.mean, row, "o", color=colour, ms=5.5)


def _scaled(axis: Axes, finding: Finding) -> None:
    ratio = finding.better == "lower"
    axis.axvline(1.0 if ratio else 0.0, color="0.3", lw=0.8, ls=":")
    if ratio:
        axis.set_xscale("log")
        few_ticks(axis)
    else:
        axis.invert_xaxis()
    axis.set_xlabel(f"{'ratio' if ratio else 'difference'} of {finding.metric or 'nothing yet'}", fontsize=8)


def few_ticks(axis: Axes) -> None:
    """Labels at 1, 2 and 5 of each decade: matplotlib's own run into each other where an axis spans about one."""
    for each in (axis.xaxis, axis.yaxis):
        if each.get_scale() != "log":
            continue
        each.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        each.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        each.set_minor_formatter(NullFormatter())
