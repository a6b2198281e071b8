"""Galleries of the plane: what every objective learned on one data set, on one colour scale."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.figures.layout import Sheet, folded, lines_high, named, tall, titled, wrapped

ACROSS = 7
_PANEL, _GAP, _LEFT, _BAR = 1.45, 0.12, 0.1, 0.75  # inches
_HEAD = 0.45
_SMALL = 6.0  # of settings, in points
_TITLES = {
    "log_density": "{}: densities of the best weights, first seed",
    "score_error": "{}: errors of the score of the best weights, first seed",
}
_BARS = {
    "log_density": "density over the truth's peak",
    "highest": "density over the highest peak; dots: held-out points",
    "score_error": "‖model score − true score‖",
}

Arrays = Mapping[str, np.ndarray]


def figure(entries: Mapping[str, Arrays | str], dataset: str, what: str) -> Figure | None:
    """Draws a panel for each objective, the truth first where there is one.

    Args:
        entries: by written name, the arrays of its grid, (nodes, nodes) each, or a word that says why there are none.
        dataset: its written name.
        what: "log_density" or "score_error".
    """
    known = [arrays for arrays in entries.values() if not isinstance(arrays, str) and what in arrays]
    if not known:
        return None
    density = what == "log_density"
    truth = known[0].get("log_truth") if density else None
    peak = max(float(arrays[what].max()) for arrays in known) if truth is None else float(truth.max())
    panels: dict[str, Arrays | str] = {} if truth is None else {"truth": {"log_density": truth}}
    panels |= entries
    rows, columns = folded(len(panels), ACROSS)
    titles = [named(name, _PANEL, small=_SMALL) for name in panels]
    heads = [max(tall(t) for t in titles[k : k + columns]) + 0.08 for k in range(0, len(titles), columns)]
    wide = _LEFT + columns * (_PANEL + _GAP) + _BAR
    heading = wrapped(_TITLES[what].format(dataset), wide - 0.2, 11)
    head = _HEAD + lines_high(len(heading) - 1, 11)
    sheet = Sheet.of(wide, head + sum(heads) + rows * (_PANEL + 0.08))
    sheet.text(sheet.width / 2, 0.08, "\n".join(heading), 11, ha="center")
    norm = mpl.colors.Normalize(0, 1) if density else mpl.colors.LogNorm(0.1, 100)
    colours = "magma" if density else "viridis"
    scale = mpl.cm.ScalarMappable(norm, colours)
    for k, (name, arrays) in enumerate(panels.items()):
        row, column = divmod(k, columns)
        left = _LEFT + column * (_PANEL + _GAP)
        top = head + sum(heads[: row + 1]) + row * (_PANEL + 0.08)
        axis = sheet.axes(left, top, _PANEL, _PANEL)
        axis.axis("off")
        titled(axis, titles[k], weight="bold" if name == "truth" and truth is not None else "normal")
        if isinstance(arrays, str):
            axis.text(0.5, 0.5, "\n".join(wrapped(arrays, _PANEL, 8)), ha="center", va="center", fontsize=8)
        elif density:
            relative = np.exp(arrays["log_density"] - peak).T
            axis.imshow(relative, origin="lower", cmap=colours, norm=norm)
            _dot(axis, arrays)
        else:
            axis.imshow(arrays["score_error"].T, origin="lower", cmap=colours, norm=norm)
    bar = sheet.axes(sheet.width - _BAR + 0.08, head + heads[0], 0.13, _PANEL)
    sheet.figure.colorbar(scale, cax=bar, extend="max" if density else "both", format="%g")
    bar.tick_params(labelsize=7, pad=1, length=2)
    bar.minorticks_off()
    bar.set_ylabel(_BARS[what if truth is not None or not density else "highest"], fontsize=7, labelpad=2)
    return sheet.figure


def _dot(axis: Axes, arrays: Arrays) -> None:
    """Marks held-out points over a density, where there are any."""
    if "points" in arrays:
        (low, high), nodes = arrays["box"], len(arrays["log_density"])
        at = (arrays["points"] - low) / (high - low) * nodes - 0.5
        axis.scatter(at[:, 0], at[:, 1], s=1, c="white", linewidths=0, alpha=0.4)
