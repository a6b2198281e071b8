"""Learning curves as small multiples: a row of panels and its names for each family, a panel for each data set."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.figures.layout import Sheet, few_ticks, folded, is_low, lines_high, named, titled, width, wrapped

LEAST = 1e-6  # nats; what is within rounding of zero has no place on a logarithmic axis
TOP = 10.0  # nats; what is worse is off the learning curves, or it would flatten all others
MOST = 6  # lines in a panel: as many as can be told apart
ACROSS = 4  # panels beside each other before they wrap
HEIGHTS = (1.75, 1.5, 1.25)  # of a panel, in inches; the first that keeps the figure low enough
OTHERS = "others"
_PANEL, _GAP, _LONGEST = 2.4, 0.22, 2.1  # widths in inches, the last of a name
_LEFT, _HEAD, _FOOT, _TITLE = 0.7, 0.45, 0.35, 0.26
_SIZE, _SMALL = 8.0, 6.5  # of names and settings, in points

Name = tuple[str, Any, float, str]  # a line of a list of names: text, colour, size and weight


@dataclass(frozen=True)
class Group:
    """What shares a row of panels: a family or a part of one, or all families that have one entry."""

    title: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class _Grid:
    """How groups are laid out: panels `across` and `deep` for each group, `blocks` groups beside each other."""

    across: int
    deep: int
    blocks: int
    panel: float  # height of a panel, in inches
    names: float  # width of the lists of names, in inches
    rows: tuple[float, ...] = ()  # height of each row of groups, in inches

    @property
    def block(self) -> float:
        """Width of a group with its names, in inches."""
        return _LEFT + self.across * (_PANEL + _GAP) + self.names

    @property
    def pitch(self) -> float:
        """From one line of a group's panels to the next, in inches."""
        return self.panel + (_TITLE if self.deep > 1 else 0.14)

    def place(self, group: int) -> tuple[float, float]:
        """Where the first panel of a group begins, in inches from the left and from the top."""
        row, block = divmod(group, self.blocks)
        return block * self.block + _LEFT, _HEAD + _TITLE + sum(self.rows[:row])

    @property
    def size(self) -> tuple[float, float]:
        return self.blocks * self.block, _HEAD + _TITLE + sum(self.rows) + _FOOT


def figure(curves: pd.DataFrame, x: str) -> Figure | None:
    """Draws the KL of averaged weights along training, logarithmic; its height is at most `TALLEST` times its width.

    All panels share their axes. A line is the median over seeds, its band their range.

    Args:
        curves: a line for each objective, family, dataset, seed and checkpoint, with step, train_seconds and kl_ema in
            nats; names as a reader writes them.
        x: "step" or "train_seconds", which is on a logarithmic axis.
    """
    if curves.empty:
        return None
    curves = curves.assign(kl_ema=curves["kl_ema"].clip(lower=LEAST))
    datasets = list(dict.fromkeys(curves["dataset"]))
    grouped = groups(curves)
    medians = curves.groupby(["objective", "dataset", "checkpoint"], sort=False)[[x, "kl_ema"]].median()
    # of the bands, not of the lines, and of all panels, not of the first family's
    bottom = min(0.7 * curves["kl_ema"].min(), TOP / 10)
    lowest = medians["kl_ema"].groupby("objective").min()
    names = {group: _names(group, set(lowest.index[lowest > TOP])) for group in grouped}
    grid = _grid(list(names.values()), len(datasets))
    sheet = Sheet.of(*grid.size)
    seeds = curves["seed"].nunique()
    what = f"KL along training: median and range of {seeds} seed{'s' * (seeds > 1)}"
    sheet.text(sheet.width / 2, 0.08, what, 11, ha="center")
    for k, group in enumerate(grouped):
        left, top = grid.place(k)
        for j, dataset in enumerate(datasets):
            line, column = divmod(j, grid.across)
            axis = sheet.axes(left + column * (_PANEL + _GAP), top + line * grid.pitch, _PANEL, grid.panel)
            _panel(axis, curves[curves["dataset"] == dataset], group, x)
            _scaled(axis, bottom, medians[x], x)
            at_foot = k + grid.blocks >= len(grouped) and j + grid.across >= len(datasets)
            axis.tick_params(labelsize=7, labelleft=column == 0, labelbottom=at_foot, pad=1)
            if k < grid.blocks or grid.deep > 1:
                titled(axis, named(dataset, _PANEL, 8.5))
        _write_names(sheet, left + grid.across * (_PANEL + _GAP) + 0.05, top, names[group])
    sheet.text(sheet.width / 2, sheet.height - 0.25, "steps" if x == "step" else "training seconds", 9, ha="center")
    sheet.text(0.08, sheet.height / 2, "KL(p‖q), nats, averaged weights", 9, rotation=90, va="center")
    return sheet.figure


def groups(curves: pd.DataFrame) -> list[Group]:
    """Families in the order in which they come, large ones in even parts; what has one entry shares a group."""
    members: dict[str, list[str]] = {}
    for family, name in curves[["family", "objective"]].drop_duplicates().itertuples(index=False):
        members.setdefault(str(family), []).append(str(name))
    single = [names[0] for names in members.values() if len(names) == 1]
    shared = {family: names for family, names in members.items() if len(names) > 1 or len(single) == 1}
    if len(single) > 1:
        shared[OTHERS] = [*shared.pop(OTHERS, []), *single]
    return [group for family, names in shared.items() for group in _parts(family, names)]


def _parts(family: str, names: Sequence[str]) -> Iterator[Group]:
    parts = -(-len(names) // MOST)
    for k in range(parts):
        own = names[k * len(names) // parts : (k + 1) * len(names) // parts]
        yield Group(family if parts == 1 else f"{family} ({k + 1}\u00a0of\u00a0{parts})", tuple(own))


def _grid(names: Sequence[Sequence[Name]], datasets: int) -> _Grid:
    """The narrowest layout that is low enough, with the highest panels."""
    heights = [lines_high(len(lines) + 1, _SIZE) for lines in names]
    wide = 0.35 + max(width(text, size, weight) for lines in names for text, _, size, weight in lines)
    first = min(datasets, ACROSS)
    for across, blocks, panel in product(range(first, datasets + 1), range(1, len(names) + 1), HEIGHTS):
        deep, columns = folded(datasets, across)
        grid = _Grid(columns, deep, blocks, panel, wide)
        room = 0.1 if deep > 1 else 0.0
        rows = [max(deep * grid.pitch, *heights[k : k + blocks]) + room for k in range(0, len(names), blocks)]
        grid = replace(grid, rows=tuple(rows))
        if is_low(*grid.size):
            break
    return grid


def _panel(axis: Axes, curves: pd.DataFrame, group: Group, x: str) -> None:
    for name, colour in zip(group.members, _colours(group), strict=True):
        runs = curves[curves["objective"] == name]
        if runs.empty:
            continue
        # not by step: at equal seconds every seed has steps of its own
        by_checkpoint = runs.groupby("checkpoint")
        at, values = by_checkpoint[x].median(), by_checkpoint["kl_ema"]
        axis.plot(at, values.median(), color=colour, lw=1.5)
        axis.fill_between(at, values.min(), values.max(), color=colour, alpha=0.15, lw=0)


def _scaled(axis: Axes, bottom: float, shown: pd.Series, x: str) -> None:
    axis.set_yscale("log")
    axis.set_ylim(bottom, TOP)
    if x == "train_seconds":
        axis.set_xscale("log")
        positive = shown[shown > 0]
        axis.set_xlim(0.9 * positive.min(), 1.1 * positive.max())
    else:
        axis.set_xlim(0, 1.02 * shown.max())
        axis.locator_params(axis="x", nbins=4)
    few_ticks(axis, 4)
    axis.grid(lw=0.6, color="0.9")
    for spine in axis.spines.values():
        spine.set_linewidth(0.7)


def _colours(group: Group) -> list[tuple[float, float, float]]:
    return list(sns.color_palette("tab10", len(group.members)))


def _names(group: Group, off: Collection[str]) -> list[Name]:
    """A group's list of names; those in `off` have no point in a panel."""
    lines: list[Name] = [(text, "0.15", _SIZE, "bold") for text in wrapped(group.title, _LONGEST + 0.25, _SIZE, "bold")]
    for name, colour in zip(group.members, _colours(group), strict=True):
        own = named(name, _LONGEST)
        own += [(f"above {TOP:g} nats", _SMALL)] * (name in off)
        lines += [(text, colour if k == 0 else "", size, "normal") for k, (text, size) in enumerate(own)]
    return lines


def _write_names(sheet: Sheet, left: float, top: float, lines: Sequence[Name]) -> None:
    for text, colour, size, weight in lines:
        indent = 0.0 if weight == "bold" else 0.25
        sheet.text(left + indent, top, text, size, weight=weight)
        if colour and weight != "bold":
            sheet.line((left, left + 0.18), top + 0.07, colour)
        top += lines_high(1, size)
