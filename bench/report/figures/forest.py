"""The verdict as a figure: every objective against its suite's reference, an interval a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.report.figures.layout import (
    Lines,
    Sheet,
    few_ticks,
    folded,
    is_low,
    least_width,
    lines_high,
    named,
    plain_number,
    tall,
    titled,
    width,
    wrapped,
)
from bench.results.reference_comparison import ReferenceComparison

# colour and marker: shapes differ too, for print and for eyes that do not part green from red
LOOKS = {
    "better": ("#11632f", "o"),
    "not separable": ("0.45", "o"),
    "undecided": ("0.45", "o"),
    "equivalent": ("#1d4e89", "D"),
    "worse": ("#a4161a", "s"),
}
OPEN = ("not separable", "undecided")
ACROSS = 4  # panels beside each other before they wrap
SIDES = "← better      worse →"
FARTHEST = 100.0  # a ratio beyond this, or below its inverse, is an arrow at the edge
_PANEL, _GAP, _LONGEST = 2.35, 0.2, 2.1  # widths in inches, the last of a name
_HEAD, _FOOT = 0.42, 0.6
_SIZE, _VALUE = 8.0, 6.5  # of the key and of the values, in points

Limits = tuple[float, float]
_Metric = tuple[str, str, str]  # its name, how it is compared, and which direction is better


class _Grid(NamedTuple):
    """How many panels lie beside each other, and lengths in inches."""

    columns: int
    margin: float  # left of the panels
    head: float  # above the first panels
    panel: float  # width of a panel
    pitch: float  # from one row of a panel to the next
    line: float  # from one line of panels to the next


def draw_forest(found: Sequence[ReferenceComparison], words: Callable[[str], str], reference: str) -> Figure | None:
    """A row an objective, a panel a data set, better on the left: ratios on a logarithmic axis, else differences.

    Panels of one metric share their axis. The height is at most `TALLEST` times the width.

    Args:
        found: findings of one suite.
        words: how a reader writes a label.
        reference: the label that they are compared with.
    """
    if not any(finding.effect.mean is not None for finding in found):
        return None
    objectives, datasets = (list(dict.fromkeys(getattr(f, name) for f in found)) for name in ("objective", "dataset"))
    names = [named(words(label), _LONGEST) for label in objectives]
    titles = [named(words(label), _PANEL, 9.0) for label in datasets]
    kind = "simultaneous " * any(finding.simultaneous for finding in found)
    about = f"Against {words(reference)}: better on the left, {kind}95 % intervals"
    said = {finding.word for finding in found} | {"better", "worse"}
    sheet, grid = _laid_out(about, names, titles, [word for word in LOOKS if word in said])
    limits = _limits(found)
    for k, dataset in enumerate(datasets):
        row, column = divmod(k, grid.columns)
        left, top = grid.margin + column * (grid.panel + _GAP), grid.head + row * grid.line
        axis = sheet.axes(left, top, grid.panel, grid.pitch * len(objectives))
        own = [f for f in found if f.dataset == dataset]
        _panel(axis, own, objectives, limits[_metric(own)])
        titled(axis, titles[k])
        for j, lines in enumerate(names if column == 0 else []):
            sheet.lines(left - 0.1, top + grid.pitch * (j + 0.5) - tall(lines) / 2, lines, ha="right")
    return sheet.figure


def _laid_out(about: str, names: Sequence[Lines], titles: Sequence[Lines], said: Sequence[str]) -> tuple[Sheet, _Grid]:
    """A sheet with its heading and key that is low enough, and where its panels are to be."""
    pitch = max(tall(lines) for lines in names) + 0.1
    margin = max(width(text, size) for lines in names for text, size in lines) + 0.2
    above = max(tall(lines) for lines in titles) + 0.1
    line = pitch * len(names) + above + _FOOT
    for across in range(min(ACROSS, len(titles)), len(titles) + 1):
        rows, columns = folded(len(titles), across)
        wide = margin + columns * (_PANEL + _GAP)
        heading = wrapped(about, wide - 0.2, 11)
        head = _HEAD + lines_high(len(heading), 11)
        high = head + rows * line
        if is_low(wide, high):
            break
    # where no more panels can lie beside each other, they are widened
    panel = max(_PANEL, (least_width(high) - margin) / columns - _GAP)
    sheet = Sheet.of(margin + columns * (panel + _GAP), high)
    sheet.text(sheet.width / 2, 0.08, "\n".join(heading), 11, ha="center")
    _key(sheet, 0.12 + lines_high(len(heading), 11), said)
    return sheet, _Grid(columns, margin, head + above, panel, pitch, line)


def _metric(own: Sequence[ReferenceComparison]) -> _Metric:
    return own[0].metric, own[0].scale, own[0].better


def _limits(found: Sequence[ReferenceComparison]) -> dict[_Metric, Limits]:
    """By metric: an axis with the better side on the left that holds all intervals and equality, within `FARTHEST`."""
    ends: dict[_Metric, list[float]] = {}
    for finding in found:
        effect = finding.effect
        values = [v for v in (effect.mean, effect.low, effect.high) if v is not None]
        ends.setdefault(_metric([finding]), []).extend(values)
    limits = {}
    for kind, values in ends.items():
        _, scale, better = kind
        if scale == "ratio":
            logs = np.clip(np.log([1 / 1.5, 1.5, *values]), -np.log(FARTHEST), np.log(FARTHEST))
            low, high = float(np.exp(logs.min()) / 1.15), float(np.exp(logs.max()) * 1.15)
        else:
            room = 0.06 * (max([0.0, *values]) - min([0.0, *values])) or 1.0
            low, high = min([0.0, *values]) - room, max([0.0, *values]) + room
        limits[kind] = (low, high) if better == "lower" else (high, low)
    return limits


def _panel(axis: Axes, own: Sequence[ReferenceComparison], objectives: Sequence[str], limits: Limits) -> None:
    metric, scale, _ = _metric(own)
    ratio = scale == "ratio"
    axis.set_ylim(len(objectives) - 0.5, -0.5)
    axis.set_yticks([])
    if ratio:
        axis.set_xscale("log")
    else:
        axis.locator_params(axis="x", nbins=4)
    axis.set_xlim(*limits)
    few_ticks(axis, 5)
    if not ratio:
        # unsigned: "better" is on the left for every metric, where a signed axis would read backwards
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(abs(round(value, 9)))))
    axis.axvline(1.0 if ratio else 0.0, color="0.25", lw=1.0)
    axis.grid(visible=False)
    for row in range(1, len(objectives), 2):
        axis.axhspan(row - 0.5, row + 0.5, color="0.96", lw=0, zorder=0)
    for finding in own:
        _interval(axis, objectives.index(finding.objective), finding)
    axis.tick_params(axis="x", labelsize=7.5, pad=2, bottom=True, length=3, width=0.8, color="0.25")
    what = metric.replace("_", " ") or "nothing yet"
    axis.set_xlabel(f"{'ratio' if ratio else 'difference'} of {what}\n{SIDES}", fontsize=8, labelpad=1)


def _interval(axis: Axes, row: int, finding: ReferenceComparison) -> None:
    effect, (colour, marker) = finding.effect, LOOKS.get(finding.word, LOOKS["not separable"])
    if effect.mean is None:
        equal = 1.0 if finding.scale == "ratio" else 0.0
        axis.annotate(finding.word, (equal, row), xytext=(5, 0), textcoords="offset points", fontsize=7.5, va="center",
                      color="0.4", style="italic")  # fmt: skip
        return
    first, last = axis.get_xlim()
    near, far = min(first, last), max(first, last)
    if effect.low is not None and effect.high is not None:
        axis.plot(np.clip([effect.low, effect.high], near, far), [row, row], color=colour, lw=1.8, alpha=0.7)
        for value, edge in ((effect.low, near), (effect.high, far)):
            if not near <= value <= far:
                arrow = "<" if edge == first else ">"
                axis.plot(edge, row, arrow, color=colour, ms=5, zorder=5, clip_on=False)
    face = "white" if finding.word in OPEN else colour
    if near <= effect.mean <= far:
        axis.plot(effect.mean, row, marker, mfc=face, mec=colour, mew=1.4, ms=5.5, zorder=4)
    _value(axis, row, finding)


def _value(axis: Axes, row: int, finding: ReferenceComparison) -> None:
    """Writes the estimate beside its interval, on the side that has more room."""
    effect = finding.effect
    assert effect.mean is not None
    ends = [effect.mean if end is None else end for end in (effect.low, effect.high)]
    shares = axis.transAxes.inverted().transform(axis.transData.transform([(end, row) for end in ends]))[:, 0]
    left, right = (float(share) for share in np.clip(np.sort(shares), 0, 1))
    after = 1 - right >= left
    text = f"×{effect.mean:.2g}" if finding.scale == "ratio" else f"{effect.mean:+.2g}".replace("-", "−")
    axis.annotate(text, (right if after else left, row), xycoords=axis.get_yaxis_transform(),
                  xytext=(5 if after else -5, 0), textcoords="offset points", fontsize=_VALUE, color="0.35",
                  va="center", ha="left" if after else "right")  # fmt: skip


def _key(sheet: Sheet, top: float, said: Sequence[str]) -> None:
    """Which look is which of the words that are said, in a line in the middle."""
    room = {word: width(word, _SIZE) + 0.35 for word in said}
    left = (sheet.width - sum(room.values())) / 2 + 0.1
    for word in said:
        colour, marker = LOOKS[word]
        sheet.mark(left, top + 0.07, marker, colour, 5.5, "white" if word in OPEN else colour)
        sheet.text(left + 0.1, top, word, _SIZE)
        left += room[word]
