"""Pictures of a store that a person reads at a glance, drawn from rows, curves and saved arrays."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")

from matplotlib.figure import Figure

from bench.report.bounds import drawn_part
from bench.report.figures import cost, curves, forest, gallery, images, proxies, scaling
from bench.report.figures.layout import use_theme, wrapped
from bench.report.figures.save import save
from bench.results import proxy_correlation
from bench.results.boards import Board, group_boards
from bench.results.labels import display_name
from bench.results.metric_values import MetricKey
from bench.results.records import Record, by_dataset
from bench.results.reference_comparison import compare_with_reference, reference_name
from bench.results.standings import provenance
from bench.results.store import ARTEFACTS, Store


def draw_figures(
    store: Store,
    records: Sequence[Record],
    folder: Path,
    suffixes: Sequence[str] = (".png",),
    *,
    captions: bool = False,
    only: Sequence[str] = (),
    boards: Mapping[str, Board] | None = None,
) -> list[Path]:
    """Draws every picture that the rows allow, one file a suite, kind and suffix; returns the files.

    A caption says which command and commit made the numbers. The same rows give the same bytes. Of a board of
    thousands of runs the best entries and their first seeds are drawn, and the picture says so.

    learning-curves-{steps,seconds}: KL along training, the band is the range over seeds. cost: KL against seconds and
    against FLOPs. proxies: every other metric against the one that ranks, by rank, a point a run. verdict: every
    objective against the suite's reference. densities, score-errors: a file a data set, on one colour scale. samples:
    images beside data. `only` names the kinds that are wanted, if not all; `boards` are those of the records, if known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    use_theme()
    files: list[Path] = []
    with _records_left_alone():
        for name, board in (boards or group_boards(records)).items():
            part = drawn_part(board)
            text = re.sub("[`*]", "", provenance(board.records))
            drawn = replace(board, records=part.records) if part.left_out else board
            beneath = ". ".join([part.left_out] * bool(part.left_out) + [text] * captions)
            for label, figure in _figures(store, drawn, only):
                if figure is None:
                    continue
                kind = slug(label)
                if beneath:
                    lines = wrapped(beneath, figure.get_figwidth(), 7)
                    figure.text(0.0, -0.02, "\n".join(lines), fontsize=7, color="0.35", va="top")
                files += [save(figure, folder / f"{name}-{kind}{suffix}", text) for suffix in suffixes]
                del figure  # tens of megabytes, held by circles of references
                gc.collect()
    return files


@contextmanager
def _records_left_alone() -> Iterator[None]:
    """Lets the garbage collector look at what is made within alone, and not at the thousands of records before it."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def slug(label: str) -> str:
    """A label as a part of a file's name."""
    return re.sub(r"[^\w.]+", "-", label).strip("-")


def _figures(store: Store, board: Board, only: Sequence[str]) -> Iterator[tuple[str, Figure | None]]:
    """The figures of a board by their labels; None if the rows do not allow one."""
    chosen = board.records
    makers: dict[str, Callable[[], Figure | None]] = {
        "learning-curves-steps": lambda: curves.figure(_curves(store, chosen), "step"),
        "learning-curves-seconds": lambda: curves.figure(_curves(store, chosen), "train_seconds"),
        "cost": lambda: cost.figure(_costs(chosen)),
        "proxies": lambda: proxies.figure(proxy_correlation.over_runs(chosen)),
        "verdict": lambda: forest.draw_forest(compare_with_reference(chosen), display_name, reference_name(chosen)),
    }
    yield from ((name, make()) for name, make in makers.items() if not only or name in only)
    for dataset, on_it in by_dataset(chosen).items() if not only else ():
        yield f"densities-{dataset}", _gallery(store, on_it, "log_density")
        yield f"score-errors-{dataset}", _gallery(store, on_it, "score_error")
        arrays = _images(store, board, on_it)
        yield f"samples-{dataset}", images.samples(arrays, display_name(dataset))
        yield from ((f"denoised-{dataset}-{k}", strip) for k, strip in enumerate(images.strips(arrays)))


def _curves(store: Store, records: Iterable[Record]) -> pd.DataFrame:
    lines: list[dict[str, Any]] = []
    for record in records:
        attempt = record.attempt or store.newest_attempt(record.run)
        # a curve that breaks off would make the median one over those that went on
        if attempt is None or record.status != "ok":
            continue
        about = {
            "objective": display_name(record.objective),
            "family": record.spec.objective.family,
            "dataset": display_name(record.dataset),
            "seed": record.spec.seed,
        }
        points = enumerate(attempt.curve())
        lines += [{**about, **point, "checkpoint": k} for k, point in points if point.get("kl_ema") is not None]
    return pd.DataFrame(lines)


def _costs(records: Iterable[Record]) -> pd.DataFrame:
    lines: list[dict[str, Any]] = []
    for record in records:
        counts = record.status == "ok" and not record.spec.reference_fit  # whose budget is another
        value = record.value(MetricKey("kl", "", "best")).value if counts else None
        if value is not None:
            measured = record.measured()
            flops = measured["flops_train"]
            lines.append(
                {
                    "objective": display_name(record.objective),
                    "family": record.spec.objective.family,
                    "control": record.spec.control,
                    "dataset": display_name(record.dataset),
                    "seed": record.spec.seed,
                    "kl": value,
                    "seconds": measured["train_seconds"],
                    "gflops": None if flops is None else flops / 1e9,
                }
            )
    return pd.DataFrame(lines)


def first_arrays(store: Store, records: Iterable[Record]) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """(objective, data set) -> arrays of the first successful seed."""
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for record in records:
        key = (record.objective, record.dataset)
        wanted = key not in found and record.status == "ok"
        attempt = (record.attempt or store.newest_attempt(record.run)) if wanted else None
        if attempt is not None and (arrays := attempt.arrays(ARTEFACTS)):
            found[key] = arrays
    return found


def _images(store: Store, board: Board, records: Sequence[Record]) -> dict[str, dict[str, np.ndarray]]:
    """Images of one data set by name: in the order of the table that they illustrate, classical denoisers last."""
    arrays = {key[0]: a for key, a in first_arrays(store, records).items() if "data" in a or "clean" in a}
    if not arrays:
        return {}
    order = [standing.objective for standing in Board(board.key, list(records)).standings]
    return {display_name(name): arrays[name] for name in dict.fromkeys([*order, *arrays]) if name in arrays}


def _gallery(store: Store, records: Sequence[Record], what: str) -> Figure | None:
    arrays = {key[0]: a for key, a in first_arrays(store, records).items() if what in a}
    status = {record.objective: record.status for record in records}
    entries = {display_name(name): arrays.get(name, word) for name, word in status.items()}
    return gallery.figure(entries, display_name(records[0].dataset), what)


def draw_scaling(measured: pd.DataFrame, path: Path) -> Path:
    """Step time along each axis of `bench cost --scaling`, log-log, one line an objective; returns the file."""
    return save(scaling.figure(measured.assign(objective=measured["objective"].map(display_name))), path)
