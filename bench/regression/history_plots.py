"""The history as a picture: a panel a metric and class of machine, a line a cell, those with a hint in colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from textwrap import wrap

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.common.errors import UsageError
from bench.regression import history
from bench.regression.history import Hint, Point, Series
from bench.report.figures.layout import use_theme
from bench.report.figures.save import save
from bench.results.labels import display_name

mpl.use("Agg")
COLUMNS = 4
GREY = "0.75"
LEAST = 1.05  # the axis reaches this far, so that rounding does not look like a change


def show_history(path: Path, picture: Path | None = None) -> str:
    """Reads a history, draws it, beside it unless there is another place, and returns its tables.

    Raises:
        UsageError: if there is no history, or the picture cannot be written.
    """
    found = history.series(history.read_history(path))
    hinted = history.hints(found)
    text = history.history_markdown(found, hinted)
    if not found:
        return text
    picture = picture or path.with_suffix(".png")
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw_history(found, hinted, picture)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write plot '{picture}' (the suffix must be one such as .png): {error}") from None
    return f"{text}\n\n{picture}"


def draw_history(found: Series, hinted: Sequence[Hint], picture: Path) -> None:
    """Steps of every value relative to the median of its cell; a metric that never moved has no panel."""
    use_theme()
    groups: dict[tuple[str, str], dict[str, list[Point]]] = {}
    for (host, metric, cell), points in found.items():
        groups.setdefault((host, metric), {})[cell] = points
    moved = {key: frame for key, cells in groups.items() if (frame := _relative(cells))["relative"].nunique() > 1}
    columns = min(COLUMNS, max(len(moved), 1))
    rows = max(-(-len(moved) // columns), 1)
    figure, axes = plt.subplots(rows, columns, figsize=(4.6 * columns, 3.4 * rows), squeeze=False)
    for axis in axes.flat[len(moved) :]:
        axis.axis("off")
    for axis, ((host, metric), frame) in zip(axes.flat, moved.items(), strict=False):
        _panel(axis, frame, [hint for hint in hinted if (hint.host, hint.metric) == (host, metric)])
        axis.set_title(f"{metric}\n{host}", fontsize=8)
    still = ", ".join(sorted({metric for _, metric in groups} - {metric for _, metric in moved}))
    words_about = "Coloured: cells with a detected changepoint, marked by a dot." + f" Constant: {still}." * bool(still)
    figure.suptitle("\n".join(["Measurements of every gated commit", *wrap(words_about, 30 * columns)]), fontsize=10)
    figure.tight_layout()
    save(figure, picture)


def _panel(axis: Axes, frame: pd.DataFrame, own: Sequence[Hint]) -> None:
    hinted = list(dict.fromkeys(hint.cell for hint in own))
    colours = dict(zip(hinted, sns.color_palette("husl", len(hinted)), strict=True))
    for cell in sorted(frame["cell"].unique(), key=lambda name: name in colours):  # the hinted ones on top
        line = frame[frame["cell"] == cell]
        style = (
            {"color": colours[cell], "lw": 1.8, "label": display_name(cell)}
            if cell in colours
            else {"color": GREY, "lw": 0.9}
        )
        axis.plot(line["at"], line["relative"], drawstyle="steps-post", **style)
    for hint in own:
        at = frame[(frame["cell"] == hint.cell) & (frame["commit"] == hint.at.commit)]
        axis.plot(at["at"], at["relative"], marker="o", ms=5, ls="", color=colours[hint.cell])
    low, high = frame["relative"].min(), frame["relative"].max()
    axis.set_ylim(min(low, 2 - LEAST) - 0.02, max(high, LEAST) + 0.02)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("commits, in the order gated", fontsize=8)
    axis.set_ylabel("relative to its median", fontsize=8)
    axis.tick_params(labelsize=7)
    if hinted:
        axis.legend(fontsize=6, loc="best")


def _relative(cells: dict[str, list[Point]]) -> pd.DataFrame:
    """Every value over the median of its cell's; cells that are zero throughout stay out."""
    order = {commit: k for k, commit in enumerate(dict.fromkeys(p.commit for points in cells.values() for p in points))}
    lines = [
        {"cell": cell, "commit": p.commit, "at": order[p.commit], "relative": p.value / middle}
        for cell, points in cells.items()
        if (middle := median(p.value for p in points)) > 0
        for p in points
    ]
    return pd.DataFrame(lines, columns=["cell", "commit", "at", "relative"])
