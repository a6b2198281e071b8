"""Pictures of a store that a person reads at a glance, drawn from rows, curves and saved arrays."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench import plots_images, plots_verdict, table
from bench.leaderboard import provenance, standings
from bench.store import ARTEFACTS, Attempt, Planned, Store
from bench.table import Record
from bench.verdict import findings

DPI = 110
# where a file's format keeps words about it, and the date that would make each drawing another file
_ABOUT = {
    ".svg": ("Description", "Date"),
    ".pdf": ("Subject", "CreationDate"),
    ".png": ("Description", "Creation Time"),
}
TOP = 10.0  # nats; what is worse is off the learning curves, or it would flatten all others


def draw(
    store: Store,
    records: Sequence[Record],
    folder: Path,
    suffixes: Sequence[str] = (".png",),
    *,
    captions: bool = False,
) -> list[Path]:
    """Draws every picture that the rows allow, one file a suite, kind and suffix; returns the files.

    A caption says which command and commit made the numbers. The same rows give the same bytes.

    learning-curves-{steps,seconds}: KL along training, the band is the range over seeds. cost: KL against seconds and
    against FLOPs. verdict: every objective against the suite's reference. densities, score-errors: a file a data set,
    on one colour scale. samples: images beside data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sns.set_theme(style="whitegrid", context="notebook")
    drawn: list[Path] = []
    for name, chosen in boards(records).items():
        figures: dict[str, Figure | None] = {
            "learning-curves-steps": _learning_curves(store, chosen, "step"),
            "learning-curves-seconds": _learning_curves(store, chosen, "train_seconds"),
            "cost": _cost(chosen),
            "verdict": plots_verdict.forest(findings(chosen), words, str(chosen[0].run.spec.get("reference"))),
        }
        for dataset, on_it in table.by_dataset(chosen).items():
            figures[f"densities-{dataset}"] = _gallery(store, on_it, "log_density")
            figures[f"score-errors-{dataset}"] = _gallery(store, on_it, "score_error")
            images = _images(store, on_it)
            figures[f"samples-{dataset}"] = plots_images.samples(images, words(dataset))
            for k, strip in enumerate(plots_images.strips(images)):
                figures[f"denoised-{dataset}-{k}"] = strip
        for label, figure in figures.items():
            if figure is None:
                continue
            kind = re.sub(r"[^\w.]+", "-", label).strip("-")
            text = re.sub("[`*]", "", provenance(chosen))
            if captions:
                figure.text(0.0, -0.02, text, fontsize=7, color="0.35", va="top", wrap=False)
            for suffix in suffixes:
                path = folder / f"{name}-{kind}{suffix}"
                about, date = _ABOUT[suffix]
                with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": kind, "pdf.fonttype": 42}):
                    warnings.simplefilter("ignore", UserWarning)  # tight layout of tall figures
                    figure.savefig(path, dpi=DPI, bbox_inches="tight", metadata={about: text, date: None})
                drawn.append(path)
            plt.close(figure)
    return drawn


def boards(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records that may share a picture: of one suite, track and device, by a name that tells them apart."""
    grouped: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        spec = record.run.spec
        grouped.setdefault((record.run.suite, str(spec["track"]), record.run.device), []).append(record)
    suites = [key[0] for key in grouped]
    names = [key[0] if suites.count(key[0]) == 1 else "-".join(key).replace(", ", "-") for key in grouped]
    return dict(zip(names, grouped.values(), strict=True))


def words(label: str) -> str:
    """A plug-in's label as a reader writes it, with spaces at which a line may break."""
    name, bracket, inside = label.partition("[")
    return name.replace("_", " ") + (" [" + re.sub(r",(?=\S)", ", ", inside) if bracket else "")


def newest(store: Store, run: Planned) -> Attempt | None:
    """The attempt whose row counts, if there is one."""
    attempts = [a for a in store.attempts_of(run) if a.row() is not None]
    return attempts[-1] if attempts else None


def family(run: Planned) -> str:
    """What its objective belongs to."""
    return str(run.spec["objective"].get("family", "other"))


def _curves(store: Store, records: Iterable[Record]) -> pd.DataFrame:
    lines: list[dict[str, Any]] = []
    for record in records:
        attempt = newest(store, record.run)
        # a curve that breaks off would make the median one over those that went on
        if attempt is None or record.status != "ok":
            continue
        about = {
            "objective": words(record.run.objective),
            "family": family(record.run),
            "dataset": record.run.dataset,
            "seed": record.run.seed,
        }
        points = enumerate(attempt.curve())
        lines += [{**about, **point, "checkpoint": k} for k, point in points if point.get("kl_ema") is not None]
    return pd.DataFrame(lines)


def _learning_curves(store: Store, records: Sequence[Record], x: str) -> Figure | None:
    """Rows are families, columns data sets: few lines in each panel."""
    curves = _curves(store, records)
    if curves.empty:
        return None
    families, datasets = list(dict.fromkeys(curves["family"])), list(dict.fromkeys(curves["dataset"]))
    figure, axes = plt.subplots(
        len(families),
        len(datasets),
        figsize=(4.2 * len(datasets) + 2.5, 3.1 * len(families)),
        sharey="col",
        sharex="col",
        squeeze=False,
    )
    for i, family in enumerate(families):
        members = list(dict.fromkeys(curves.loc[curves["family"] == family, "objective"]))
        palette = dict(zip(members, sns.color_palette("tab10", len(members)), strict=True))
        for j, dataset in enumerate(datasets):
            axis: Axes = axes[i][j]
            panel = curves[(curves["family"] == family) & (curves["dataset"] == dataset)]
            for name, runs in panel.groupby("objective", sort=False):
                # not by step: at equal seconds every seed has steps of its own
                by_checkpoint = runs.groupby("checkpoint")
                at, middle = by_checkpoint[x].median(), by_checkpoint["kl_ema"].median()
                axis.plot(at, middle, color=palette[name], label=name, lw=1.8)
                low, high = by_checkpoint["kl_ema"].min(), by_checkpoint["kl_ema"].max()
                axis.fill_between(at, low, high, color=palette[name], alpha=0.15, lw=0)
            axis.set_yscale("log")
            plots_verdict.few_ticks(axis)
            axis.set_ylim(top=TOP)
            if x == "train_seconds":
                axis.set_xscale("log")
            if i == 0:
                axis.set_title(words(dataset))
            if i == len(families) - 1:
                axis.set_xlabel("steps" if x == "step" else "training seconds")
            if j == 0:
                axis.set_ylabel(f"{family}\n\nKL(p‖q), nats, averaged weights", fontsize=9)
        handles, labels = axes[i][0].get_legend_handles_labels()
        for axis in axes[i][1:]:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                if label not in labels:
                    handles.append(handle)
                    labels.append(label)
        axes[i][-1].legend(handles, labels, loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=8, frameon=False)
    seeds = curves["seed"].nunique()
    figure.suptitle(f"KL along training: median and range of {seeds} seed{'s' * (seeds > 1)}", y=1.0)
    figure.tight_layout()
    return figure


def _cost(records: Sequence[Record]) -> Figure | None:
    """KL of the best weights against seconds (left) and FLOPs (right) of training, one row a data set."""
    lines = []
    for record in records:
        value = record.estimate("kl_best").get("value") if record.status == "ok" else None
        if value is not None:
            measured = record.measured()
            lines.append(
                {
                    "objective": words(record.run.objective),
                    "family": family(record.run),
                    "dataset": record.run.dataset,
                    "kl": value,
                    "seconds": measured["train_seconds"],
                    "flops": measured["flops_train"],
                }
            )
    if not lines:
        return None
    runs = pd.DataFrame(lines)
    datasets, families = list(dict.fromkeys(runs["dataset"])), sorted(runs["family"].unique())
    colours = dict(zip(families, sns.color_palette("colorblind", len(families)), strict=True))
    names = {name: str(k + 1) for k, name in enumerate(dict.fromkeys(runs["objective"]))}
    figure, axes = plt.subplots(len(datasets), 2, figsize=(13, 4.2 * len(datasets)), sharey="row", squeeze=False)
    for row, dataset in zip(axes, datasets, strict=True):
        panel = runs[runs["dataset"] == dataset]
        for axis, x, label in zip(row, ("seconds", "flops"), ("training seconds", "counted FLOPs"), strict=True):
            for name, group in panel.groupby("objective", sort=False):
                colour = colours[group["family"].iloc[0]]
                axis.scatter(group[x], group["kl"], color=colour, s=10, alpha=0.35, lw=0)
                at = (group[x].median(), group["kl"].median())
                axis.scatter(*at, color=colour, s=150, zorder=3)
                axis.annotate(names[str(name)], at, ha="center", va="center", color="white", fontsize=7, zorder=4)
            axis.set(xscale="log", yscale="log", xlabel=label, title=words(dataset))
            plots_verdict.few_ticks(axis)
        row[0].set_ylabel("KL(p‖q), nats, best weights")
    entries = [
        Line2D([], [], marker="o", ls="", color=colours[runs.loc[runs["objective"] == n, "family"].iloc[0]])
        for n in names
    ]
    figure.legend(
        entries,
        [f"{k}  {name}" for name, k in names.items()],
        loc="upper left",
        bbox_to_anchor=(1.0, 0.98),
        fontsize=8,
        title="colour: family",
        frameon=False,
    )
    figure.suptitle("Quality against cost: lower left is better; large: median, small: seeds", y=1.0)
    figure.tight_layout()
    return figure


def first_arrays(store: Store, records: Iterable[Record]) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """(objective, data set) -> arrays of the first successful seed."""
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for record in records:
        key = (record.run.objective, record.run.dataset)
        attempt = newest(store, record.run) if key not in found and record.status == "ok" else None
        if attempt is not None and (attempt.folder / ARTEFACTS).exists():
            with np.load(attempt.folder / ARTEFACTS) as arrays:
                found[key] = dict(arrays)
    return found


def _images(store: Store, records: Sequence[Record]) -> dict[str, dict[str, np.ndarray]]:
    """Images of one data set by name: in the order of the table that they illustrate, classical denoisers last."""
    board = table.leaderboard(records)
    order = [] if board.empty else [standing.objective for standing in standings(board)]
    arrays = {key[0]: a for key, a in first_arrays(store, records).items() if "data" in a or "clean" in a}
    return {words(name): arrays[name] for name in dict.fromkeys([*order, *arrays]) if name in arrays}


def _gallery(store: Store, records: Sequence[Record], what: str) -> Figure | None:
    """One data set: the truth first, then every objective, on one colour scale."""
    arrays = {key[0]: a for key, a in first_arrays(store, records).items() if what in a}
    if not arrays:
        return None
    dataset = words(records[0].run.dataset)
    status = {r.run.objective: r.status for r in records}
    panels: list[str | None] = [*([None] if what == "log_density" else []), *status]
    columns = min(len(panels), 7)
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.75 * columns, 2.2 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, objective in zip(axes.flat, panels, strict=False):
        title = f"truth: {dataset}" if objective is None else words(objective)
        axis.set_title("\n".join(_wrapped(title, 22)), fontsize=6.5, weight="bold" if objective is None else None)
        if objective is not None and objective not in arrays:
            axis.text(0.5, 0.5, status[objective], ha="center", va="center", fontsize=8)
        elif what == "log_density":
            truth = next(iter(arrays.values()))["log_truth"]
            values = truth if objective is None else arrays[objective]["log_density"]
            axis.imshow(np.exp(values - truth.max()).T, origin="lower", cmap="magma", vmin=0, vmax=1)
        else:
            error = arrays[objective or ""]["score_error"].T
            axis.imshow(error, origin="lower", cmap="viridis", norm=mpl.colors.LogNorm(0.1, 100))
    title = {
        "log_density": f"{dataset}: densities of the best weights, first seed, coloured up to the truth's peak",
        "score_error": f"{dataset}: ‖model score - true score‖, first seed; .1 (dark) to 100 (bright), logarithmic",
    }[what]
    figure.suptitle(title, fontsize=10, y=1.0)
    figure.tight_layout(h_pad=0.6, w_pad=0.3)
    return figure


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def draw_scaling(measured: pd.DataFrame, path: Path) -> Path:
    """Step time along each axis of `bench cost --scaling`, log-log, one line an objective; returns the file."""
    columns = {"batch": "batch", "width": "network", "dim": "dim"}
    figure, axes = plt.subplots(1, len(columns), figsize=(17, 5.5), sharey=True)
    names = list(dict.fromkeys(measured["objective"]))
    palette = dict(zip(names, sns.color_palette("husl", len(names)), strict=True))
    for axis, (label, column) in zip(axes, columns.items(), strict=True):
        panel = measured[measured["axis"] == label]
        for name, line in panel.groupby("objective", sort=False):
            x = line[column].str.extract(r"width=(\d+)")[0].astype(int) if label == "width" else line[column]
            axis.plot(x, line["step_ms"], marker="o", ms=3, lw=1.2, color=palette[name], label=words(str(name)))
        axis.set(xscale="log", yscale="log", xlabel={"batch": "batch", "width": "width", "dim": "dimension"}[label])
        plots_verdict.few_ticks(axis)
    axes[0].set_ylabel("ms a step")
    axes[0].legend(loc="upper left", bbox_to_anchor=(3.3, 1.0), fontsize=7, frameon=False)
    figure.suptitle("What a training step costs")
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    plt.close(figure)
    return path
