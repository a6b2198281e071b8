"""The pictures of an audit: bias and noise against cost, and every estimator of one divergence against the noise."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.report.figures.layout import few_ticks, plain_number, use_theme
from bench.report.figures.save import save
from bench.results.labels import display_name

mpl.use("Agg")
LEAST = 1e-4  # a relative bias below this, or below its noise, is drawn on the floor
RADIUS = 9.0  # of a numbered marker, in points
PUSHES = 400
ROOM = 1.3  # a factor about the points
HIGHEST = 20.0  # a relative error that still has a place in the picture of one divergence


def draw_audit(summary: pd.DataFrame, folder: Path) -> list[Path]:
    """Bias against cost, and noise against cost; a number is an objective, a colour its family. Returns the files."""
    use_theme()
    return [
        save(_bias(summary), folder / "audit-bias-cost.png"),
        save(_noise(summary), folder / "audit-noise-cost.png"),
    ]


def _bias(summary: pd.DataFrame) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(15, 6.4))
    own = summary[summary["bias"].notna()]
    seen = own["bias"].where((own["bias"] > 2 * own["bias se"]) & (own["bias"] > LEAST))
    _numbered(axes[0], summary, seen.fillna(LEAST / 2), own["bias se"].where(seen.notna()))
    axes[0].axhspan(LEAST / 4, LEAST, color="0.93", zorder=0)
    axes[0].set(
        ylim=(LEAST / 4, None),
        ylabel="relative bias of the expected gradient",
        title="against its own divergence   (grey band: none found)",
    )
    angle = summary["angle to the ML gradient (°)"].clip(lower=0.5)
    _numbered(axes[1], summary, angle, None)
    axes[1].set(ylabel="degrees between expected gradients", title="against maximum likelihood")
    for axis in axes:
        axis.set_xlabel("counted MFLOPs of one example")
    _legend(figure, summary)
    figure.suptitle("Bias against cost, midway between a bad energy and the truth: lower left is better")
    figure.tight_layout()
    return figure


def _noise(summary: pd.DataFrame) -> Figure:
    figure, axis = plt.subplots(figsize=(9.5, 7))
    _numbered(axis, summary, summary["noise to signal"].dropna(), summary["noise to signal se"])
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    x = np.geomspace(left, right, 50)
    for power in range(math.ceil(math.log10(left * low)), math.floor(math.log10(right * high)) + 1):
        axis.plot(x, 10.0**power / x, color="0.75", lw=0.8, ls="--", zorder=1)
        end = 10.0**power / right
        if low < end < high:
            axis.annotate(
                plain_number(10.0**power), (right, end), xytext=(3, -3), textcoords="offset points", fontsize=8
            )
    axis.set(
        xlim=(left, right),
        ylim=(low, high),
        xlabel="counted MFLOPs of one example",
        ylabel="examples until the gradient's noise equals its size",
    )
    _legend(figure, summary)
    figure.suptitle(
        "Noise against cost, midway: lower left is better\n"
        "dashed: equal cost, in MFLOPs, until the gradient is seen through its noise",
        fontsize=12,
    )
    figure.tight_layout()
    return figure


def _colours(summary: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    families = sorted(summary["family"].unique())
    return dict(zip(families, sns.color_palette("colorblind", len(families)), strict=True))


def _numbered(axis: Axes, summary: pd.DataFrame, y: pd.Series, error: pd.Series | None) -> None:
    """A numbered disc for each objective that has a y, pushed off its neighbours and tied to its point."""
    shown, palette = summary.loc[y.index], _colours(summary)
    x, colours = shown["MFLOPs an example"], [palette[family] for family in shown["family"]]
    axis.set(xscale="log", yscale="log")
    axis.scatter(x, y, s=12, c=colours, zorder=2)
    if error is not None:
        axis.errorbar(x, y, yerr=error[y.index], fmt="none", ecolor="0.5", lw=1, zorder=1)
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
        each.set_minor_formatter(NullFormatter())
    if y.notna().any():  # else no objective here declares a divergence
        axis.set(xlim=(x.min() / ROOM, x.max() * ROOM), ylim=(y.min() / ROOM**2, y.max() * ROOM**2))
    points = axis.transData.transform(np.column_stack([x, y]))
    placed = axis.transData.inverted().transform(_apart(points, 2.1 * RADIUS * plt.rcParams["figure.dpi"] / 72))
    for at, to, number, colour in zip(np.column_stack([x, y]), placed, y.index + 1, colours, strict=True):
        axis.plot([at[0], to[0]], [at[1], to[1]], color=colour, lw=0.8, zorder=2)
        axis.scatter(to[0], to[1], s=(2 * RADIUS) ** 2, color=colour, edgecolor="white", zorder=3)
        axis.annotate(str(number), to, ha="center", va="center_baseline", color="white", fontsize=8, zorder=4)


def _apart(points: np.ndarray, distance: float) -> np.ndarray:
    """The points (n, 2), moved as little as may be until any two are `distance` apart."""
    # no two may start at one place, or no direction would part them
    angles = np.arange(len(points)) * 2.399963
    moved = points + 0.01 * distance * np.column_stack([np.cos(angles), np.sin(angles)])
    for _ in range(PUSHES):
        offset = moved[:, None] - moved[None]
        gap = np.linalg.norm(offset, axis=-1)
        np.fill_diagonal(gap, np.inf)
        push = np.clip(distance - gap, 0, None) / gap
        if not push.any():
            break
        moved = moved + 0.5 * (push[..., None] * offset).sum(1)
    return moved


def _legend(figure: Figure, summary: pd.DataFrame) -> None:
    """What each number is, the families one after the other."""
    palette = _colours(summary)
    entries = [Line2D([], [], marker="o", ls="", color=palette[family]) for family in summary["family"]]
    labels = [f"{k}  {display_name(name)}" for k, name in enumerate(summary["objective"], start=1)]
    figure.legend(entries, labels, loc="upper left", bbox_to_anchor=(1.0, 0.97), fontsize=8, frameon=False)


def draw_family(lines: pd.DataFrame, path: Path) -> Path:
    """The error of every estimator of one divergence against the noise scale, log-log; returns the file."""
    use_theme()
    figure, axis = plt.subplots(figsize=(8.6, 6.4))
    limits = lines[lines["promise"] == "limit"]
    estimators = lines[lines["promise"] != "limit"]
    colours = sns.color_palette("colorblind", estimators["objective"].nunique())
    for (name, line), colour, marker in zip(
        estimators.groupby("objective", sort=False), colours, "osD^vP*Xh<>", strict=False
    ):
        finite = line[line["status"] == "ok"].sort_values("variance")
        seen = finite["bias_own"] > 2 * finite["floor_own"]
        height = finite["bias_own"].where(seen, 2 * finite["floor_own"])
        axis.plot(finite["variance"], height.where(seen), color=colour, lw=1.6, zorder=3)
        axis.errorbar(
            finite["variance"][seen],
            height[seen],
            yerr=finite["bias_se_own"][seen],
            color=colour,
            marker=marker,
            ls="",
            ms=7,
            capsize=3,
            zorder=4,
            label=display_name(str(name)) + " (control)" * bool(line["control"].iloc[0]),
        )
        axis.scatter(
            finite["variance"][~seen], height[~seen], marker="v", s=55, facecolor="white", edgecolor=colour, zorder=4
        )
        if len(finite) < len(line) and len(finite):
            axis.annotate(
                "no draw exists\nbeyond",
                (finite["variance"].iloc[-1], height.iloc[-1]),
                xytext=(8, 2),
                textcoords="offset points",
                fontsize=8,
                color=colour,
            )
    for (name, line), dash in zip(limits.groupby("objective", sort=False), ("--", ":"), strict=True):
        axis.plot(
            line["variance"], line["bias_own"], color="0.35", ls=dash, lw=1.6, label=f"the limit: {name}", zorder=2
        )
    _slopes(axis, estimators)
    axis.set(
        xscale="log",
        yscale="log",
        ylim=(None, HIGHEST),
        xlabel="variance σ² of the noise (the data's narrowest mode has .16)",
        ylabel="‖E[gradient] − exact‖ / ‖exact‖",
    )
    few_ticks(axis, 8)
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9, frameon=False)
    axis.set_title(
        "One divergence, KL(p‖q) − KL(p noised‖q noised), and the estimators of its gradient\n"
        "open triangles: any error is below twice the noise of the mean; bars: one standard error",
        fontsize=10,
    )
    return save(figure, path)


def _slopes(axis: Axes, estimators: pd.DataFrame) -> None:
    """Guides for errors of first and of second order in σ²."""
    left, right = float(estimators["variance"].min()), float(estimators["variance"].max())
    x = np.array([left, (left * right) ** 0.5])
    for order, height in ((1, 1.2e-3), (2, 6e-6)):
        axis.plot(x, height * (x / left) ** order, color="0.6", lw=1, zorder=1)
        axis.annotate(
            f"∝ σ{'²⁴'[order - 1]}",
            (x[1], height * (x[1] / left) ** order),
            xytext=(4, 0),
            textcoords="offset points",
            color="0.4",
            fontsize=9,
        )
