"""Every proxy against the truth, a point a run: which metric orders runs as the one does that ranks them."""

from __future__ import annotations

import math

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.results.proxy_correlation import rank_correlations

ACROSS = 3
PANEL = 2.8  # inches


def figure(runs: pd.DataFrame) -> Figure | None:
    """A panel for each metric of `over_runs`: ranks within a data set, with the mean rank correlation above.

    Coloured by data set, or by suite where runs name one. None where no metric has enough runs.
    """
    found = rank_correlations(runs)
    if found.empty:
        return None
    groups = runs.groupby(["dataset", "metric"])
    ranks = runs.assign(**{side: groups[side].rank(pct=True) for side in ("truth", "proxy")})
    columns = min(ACROSS, len(found))
    rows = math.ceil(len(found) / columns)
    drawn = Figure(figsize=(PANEL * columns, PANEL * rows), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False).flatten()
    by = "suite" if "suite" in ranks else "dataset"
    order = sorted(ranks[by].unique())
    colours = dict(zip(order, sns.color_palette("colorblind", len(order)), strict=True))
    for ax, line in zip(axes, found.to_dict("records"), strict=False):
        own = ranks[ranks["metric"] == line["metric"]]
        for label, part in own.groupby(by):
            ax.scatter(part["truth"], part["proxy"], s=9, color=colours[label], label=str(label), alpha=0.8)
        ax.set_title(f"{line['metric'].replace('_', ' ')}\n{line['correlation']:+.2f}, {line['runs']} runs", fontsize=8)
        ax.set(xlim=(0, 1.05), ylim=(0, 1.05))
        ax.tick_params(labelsize=7)
    for ax in axes[len(found) :]:
        ax.set_axis_off()
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    drawn.legend(list(handles.values()), list(handles), loc="outside upper center", fontsize=7, ncols=2)
    drawn.supxlabel("rank by the metric that ranks the data set, better to the left", fontsize=8)
    drawn.supylabel("rank by the proxy", fontsize=8)
    return drawn
