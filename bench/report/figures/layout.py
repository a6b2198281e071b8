"""Parts that figures share: texts of known width, axes at places in inches, ticks that do not collide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

TALLEST = 1.5  # height over width that no figure of several panels exceeds
LINE = 1.25  # distance of two lines of text, in font sizes
# digits of a decade that may carry a tick, sparsest first
_DIGITS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_POINTS = 72.0  # of an inch
_MARGINS = 0.4  # inches of a sheet's width that may be empty

Lines = list[tuple[str, float]]  # texts and their sizes in points, from above


def use_theme() -> None:
    """Sets the look of all figures; whoever draws one sets it, so that none depends on what was drawn before it."""
    sns.set_theme(style="whitegrid", context="notebook")


def split(name: str) -> tuple[str, str]:
    """A written name and its settings in brackets: "CD [k=1]" is ("CD", "[k=1]"); no settings are ""."""
    bare, bracket, inside = name.partition(" [")
    return bare, bracket.strip() + inside


def width(text: str, size: float, weight: str = "normal") -> float:
    """How wide a line of text is, in inches; `size` is the font's, in points."""
    font = FontProperties(size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / _POINTS


def wrapped(text: str, inches: float, size: float, weight: str = "normal") -> list[str]:
    """Lines of a text none of which is wider than `inches`, broken at spaces, else after any letter.

    Spaces that do not break stay.
    """
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}".strip()
        if width(joined, size, weight) <= inches:
            lines[-1] = joined
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = word
        while width(lines[-1], size, weight) > inches and len(lines[-1]) > 1:
            whole = lines[-1]
            cut = next((k for k in range(len(whole) - 1, 1, -1) if width(whole[:k], size, weight) <= inches), 1)
            lines[-1:] = [whole[:cut], whole[cut:]]
    return lines


def named(name: str, inches: float, size: float = 8.0, small: float = 6.5) -> Lines:
    """Lines of a written name that fit a width: the name itself, then its settings in smaller type."""
    bare, settings = split(name)
    lines = [(text, size) for text in wrapped(bare, inches, size)]
    return lines + [(text, small) for text in (wrapped(settings, inches, small) if settings else [])]


def tall(lines: Lines) -> float:
    """The height of lines of text, in inches."""
    return sum(lines_high(1, size) for _, size in lines)


def titled(axis: Axes, lines: Lines, note: str = "", weight: str = "normal") -> None:
    """Writes `named` lines and a note above axes: the name and the note as their title, the settings below it."""
    size = lines[0][1]
    settings = [line for line in lines if line[1] != size]
    title = "\n".join([*(text for text, own in lines if own == size), *filter(None, [note])])
    room = 2 + tall(settings) * _POINTS
    axis.set_title(title, fontsize=size, pad=room, weight=weight, linespacing=LINE, va="bottom")
    if settings:
        below: dict[str, Any] = {"xytext": (0, 1), "textcoords": "offset points", "xycoords": "axes fraction"}
        text, small = "\n".join(text for text, _ in settings), settings[0][1]
        axis.annotate(text, (0.5, 1.0), **below, fontsize=small, ha="center", va="bottom", linespacing=LINE)


@dataclass(frozen=True)
class Sheet:
    """A figure whose parts are placed in inches, from its upper left corner."""

    figure: Figure
    width: float
    height: float

    @classmethod
    def of(cls, width: float, height: float) -> Sheet:
        return cls(plt.figure(figsize=(width, height)), width, height)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """New axes; the place is that of the frame, without its labels."""
        bottom = self.height - top - height
        place = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(place)

    def text(self, left: float, top: float, text: str, size: float, **style: Any) -> None:
        """A text whose upper left corner is at the place, unless `style` says another alignment."""
        look: dict[str, Any] = {"ha": "left", "va": "top", "fontsize": size, "linespacing": LINE, **style}
        self.figure.text(left / self.width, 1 - top / self.height, text, **look)

    def lines(self, left: float, top: float, lines: Lines, **style: Any) -> None:
        """Lines of text below each other, each of its own size."""
        for text, size in lines:
            self.text(left, top, text, size, **style)
            top += lines_high(1, size)

    def line(self, span: tuple[float, float], top: float, colour: Any) -> None:
        """A short horizontal line, as in a legend, from one distance from the left to another."""
        ends = [left / self.width for left in span]
        height = 1 - top / self.height
        self.figure.add_artist(Line2D(ends, [height, height], color=colour, lw=2))

    def mark(self, left: float, top: float, marker: str, colour: Any, size: float, face: Any = None) -> None:
        """A marker as in a legend; its size is in points, its face is of the same colour unless given."""
        at = [left / self.width], [1 - top / self.height]
        fill = colour if face is None else face
        self.figure.add_artist(Line2D(*at, marker=marker, ls="", mec=colour, mfc=fill, ms=size, mew=1.2))


def lines_high(count: int, size: float) -> float:
    """The height of some lines of text, in inches."""
    return count * size * LINE / _POINTS


def is_low(width: float, height: float) -> bool:
    """Whether a sheet of that size, in inches, is at most `TALLEST` once its empty margins are cropped."""
    return width >= least_width(height)


def least_width(height: float) -> float:
    """The width at which a sheet of some height is low enough, in inches."""
    return height / TALLEST + _MARGINS


def folded(panels: int, across: int) -> tuple[int, int]:
    """Lines and columns of a grid that holds all panels in lines of at most `across`."""
    columns = max(1, min(panels, across))
    return -(-panels // columns), columns


def few_ticks(axis: Axes, most: int = 6) -> None:
    """Between two and `most` labels on each logarithmic axis, at round numbers; the limits must be final."""
    for each in (axis.xaxis, axis.yaxis):
        if each.get_scale() == "log":
            each.set_major_locator(FixedLocator(_round_values(*_limits(each), most)))
            each.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
            each.set_minor_locator(NullLocator())
            each.set_minor_formatter(NullFormatter())


def plain_number(value: float) -> str:
    """A number of an axis as it is read: in digits from .0001 to 999,999, in words to billions, else as a power."""
    size = abs(value)
    if size == 0 or 0.99e-4 <= size < 1e6:
        return f"{value:,.6g}"
    for unit, word in ((1e9, "billion"), (1e6, "million")):
        if unit <= size < 1000 * unit:
            return f"{value / unit:.6g} {word}"
    digits, _, power = f"{value:.6e}".partition("e")
    digits = digits.rstrip("0").rstrip(".")
    ten = "10" + str(int(power)).translate(_RAISED)
    return ten if digits == "1" else f"{digits}·{ten}"


def _limits(axis: Axis) -> tuple[float, float]:
    low, high = sorted(float(v) for v in axis.get_view_interval())
    return low, high


def _round_values(low: float, high: float, most: int) -> Sequence[float]:
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    decades = [10.0**k for k in range(first, last + 1)]
    within = [d for d in decades if low <= d <= high]
    if len(within) > most:
        return within[:: -(-len(within) // most)]
    chosen: Sequence[float] = within
    for digits in _DIGITS:
        values = [v for d in decades for digit in digits if low <= (v := d * digit) <= high]
        if len(values) <= most:
            chosen = values
    if len(chosen) >= 2:
        return chosen
    # less than a factor of two: plain round numbers
    step = float(f"{(high - low) / 3:.0e}")
    return [float(v) for v in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]
