"""The history as a picture: a panel a metric and class of machine, a line a cell, those with a hint in colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns

from bench import history
from bench.errors import UsageError
from bench.history import Hint, Series
from bench.plots import DPI, words

COLUMNS = 4
GREY = "0.75"


def show(path: Path, picture: Path) -> str:
    """Reads a history, draws it, and returns its tables.

    Raises:
        UsageError: if there is no history, or the picture cannot be written.
    """
    found = history.series(history.read(path))
    hinted = history.hints(found)
    text = history.markdown(found, hinted)
    if not found:
        return text
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw(found, hinted, picture)
    except (OSError, ValueError) as error:
        raise UsageError(f"a picture needs a place, and a suffix such as .png; '{picture}': {error}") from None
    return f"{text}\n\n{picture}"


def draw(found: Series, hinted: Sequence[Hint], picture: Path) -> None:
    """Steps of every value relative to the first one of its cell; what began at zero is in the tables only."""
    sns.set_theme(style="whitegrid", context="notebook")
    groups: dict[tuple[str, str], dict[str, list[history.Point]]] = {}
    for (host, metric, cell), points in found.items():
        groups.setdefault((host, metric), {})[cell] = points
    drawn = {key: frame for key, cells in groups.items() if not (frame := _relative(cells)).empty}
    rows = -(-len(drawn) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(4.4 * COLUMNS, 3.2 * rows), squeeze=False)
    for axis in axes.flat[len(drawn) :]:
        axis.axis("off")
    for axis, ((host, metric), frame) in zip(axes.flat, drawn.items(), strict=False):
        own = [hint for hint in hinted if (hint.host, hint.metric) == (host, metric)]
        named = list(dict.fromkeys(hint.cell for hint in own))
        colours = dict(zip(named, sns.color_palette("tab10", len(named)), strict=True))
        for cell in sorted(groups[host, metric], key=lambda name: name in colours):  # the hinted ones on top
            line = frame[frame["cell"] == cell]
            colour, width = colours.get(cell, GREY), 1.8 if cell in colours else 0.9
            label = words(cell) if cell in colours else None
            axis.plot(line["at"], line["relative"], drawstyle="steps-post", color=colour, lw=width, label=label)
        for hint in own:
            at = frame[(frame["cell"] == hint.cell) & (frame["commit"] == hint.at.commit)]
            axis.plot(at["at"], at["relative"], marker="o", ls="", color=colours[hint.cell])
        axis.set_title(f"{metric}\n{host}", fontsize=8)
        axis.set(xlabel="commits, in the order gated", ylabel="relative to the first", yscale="log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        axis.yaxis.set_minor_formatter(lambda value, _: f"{value:.3g}")
        axis.tick_params(axis="both", which="both", labelsize=7)
        if named:
            axis.legend(fontsize=6, frameon=False)
    figure.suptitle("What every gated commit measured; in colour where a change is hinted at, a dot where it begins")
    figure.tight_layout()
    figure.savefig(picture, dpi=DPI)
    plt.close(figure)


def _relative(cells: dict[str, list[history.Point]]) -> pd.DataFrame:
    order = {commit: k for k, commit in enumerate(dict.fromkeys(p.commit for points in cells.values() for p in points))}
    return pd.DataFrame(
        [
            {"cell": cell, "commit": p.commit, "at": order[p.commit], "relative": p.value / points[0].value}
            for cell, points in cells.items()
            for p in points
            if points[0].value > 0 and p.value > 0
        ]
    )
