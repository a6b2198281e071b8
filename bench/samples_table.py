"""What the samples of a suite's models are worth, sampler by sampler, beside sets of images whose worth is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench import table
from bench.errors import UsageError
from bench.statistics import t_interval
from bench.table import Cell, Record

SAMPLERS = {
    "own": "its own",
    "continued": "its own, then chains",
    "noise": "chains from noise",
    "data": "chains from data",
}
HEADINGS = {
    "fid": "FID",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "class_entropy": "class entropy",
    "neighbour_distance": "neighbour distance",
}
GAUSSIAN = "pixel Gaussian"
RULERS = ("test", GAUSSIAN, "uniform noise")
READING = (
    "Mean ± half the width of Student's 95 % interval over the seeds. Lower FID and KID are better; precision is the "
    "share of samples that lie among the data, recall that of the data among the samples; class entropy is in nats; "
    "neighbour distance, in the extractor's features, is to the nearest training image: that of test images is what "
    "new images have. Chains from data that have not left it score as the data do."
)


@dataclass(frozen=True)
class Line:
    """One objective's samples by one sampler; or a known set, with its size in the sampler's place.

    Attributes:
        fid: the mean over the seeds; None if there is none.
        values: by metric, as the leaderboard writes them; a word where there is no number.
        basis: how many samples and which extractor.
    """

    objective: str
    sampler: str
    fid: float | None
    values: dict[str, str]
    basis: str


def lines(records: Iterable[Record]) -> list[Line]:
    """Every objective by every sampler that was judged, on the one suite and data set that the records are of.

    The objective whose samples come nearest to the data stands first; chains that started from data do not count for
    that. An objective without any result has no line: the ranking says why.
    """
    found: list[tuple[float, list[Line]]] = []
    for (_, _, _, objective, _), cell in table.cells(records).items():
        of_one = [line for sampler in SAMPLERS if (line := _line(cell, objective, sampler))]
        from_nothing = [line.fid for line in of_one if line.fid is not None and line.sampler != "data"]
        found.append((min(from_nothing, default=math.inf), of_one))
    return [line for _, of_one in sorted(found, key=lambda each: each[0]) for line in of_one]


def markdown(records: Sequence[Record]) -> str:
    """The table of a suite, one a data set, and how it is read; "" where no named sampler was judged."""
    return _page(records, rulers={})


def beside_rulers(records: Sequence[Record]) -> str:
    """The same with what the metrics say of test images, of a Gaussian fitted to the pixels, and of noise.

    These are measured on the data set as it is here, as many images as the runs have samples, and a column holds FID
    over that of the Gaussian, which a model of images must beat.

    Raises:
        UsageError: if the data set is not here, or no named sampler was judged.
    """
    from bench import load
    from bench.rng import Rng
    from bench.rulers import rulers

    known: dict[str, dict[str, dict[str, float]]] = {}
    for dataset, on_it in table.by_dataset(records).items():
        spec = on_it[0].run.spec
        data = load.dataset(spec["dataset"]["ref"], Rng(0, "data"), **spec["dataset"]["params"])
        of_sets = rulers(data, int(spec["evaluation"]["samples"]), only=RULERS).set_index("set").T.to_dict()
        known[dataset] = {
            name: {column: float(of_sets[name][column]) for column in ("n", *HEADINGS)} for name in RULERS
        }
    if text := _page(records, known):
        return text
    raise UsageError(f"suite {records[0].run.suite} judged no sampler by its name; a page takes its ranking")


def _page(records: Sequence[Record], rulers: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """`rulers` holds n and each metric's value of each known set, by data set."""
    parts = []
    for dataset, on_it in table.by_dataset(records).items():
        if not (found := lines(on_it)):
            continue
        known = rulers.get(dataset, {})
        for name, values in known.items():
            words = {metric: f"{values[metric]:.3g}" for metric in HEADINGS}
            # FID depends on n, and a test set can be smaller
            about = f"n = {values['n']:.0f}"
            found.append(Line(f"*{name}*", about, values["fid"], words, found[0].basis))
        least = known[GAUSSIAN]["fid"] if known else None
        seeds = len({record.run.seed for record in on_it})
        parts += [f"**{dataset}**, {found[0].basis}, {seeds} seed{'s' * (seeds > 1)}:"]
        parts += [table.markdown(pd.DataFrame([_shown(line, least) for line in found]))]
    return "\n\n".join([*parts, READING]) if parts else ""


def _line(cell: Cell, objective: str, sampler: str) -> Line | None:
    columns = {metric: _column(cell, metric, sampler) for metric in HEADINGS}
    if columns["fid"] is None:
        return None
    values = {metric: table.shown(cell, column) if column else "n/a" for metric, column in columns.items()}
    basis = table.bases(cell.records, columns["fid"])
    return Line(objective, sampler, t_interval(cell.numbers(columns["fid"])).mean, values, basis)


def _column(cell: Cell, metric: str, sampler: str) -> str | None:
    """The column of a metric by a sampler, of the best weights, else of the averaged, else of the last."""
    names = [f"{metric}_{sampler}{suffix}" for suffix in ("_best", "_ema", "")]
    return next((name for name in names if any(name in record.estimates() for record in cell.succeeded)), None)


def _shown(line: Line, least: float | None) -> dict[str, str]:
    text = {
        "objective": line.objective,
        "sampler": SAMPLERS.get(line.sampler, line.sampler),
        HEADINGS["fid"]: line.values["fid"],
    }
    if least is not None:
        text["of the Gaussian's"] = "n/a" if line.fid is None else f"{line.fid / least:.2f}"
    return text | {heading: line.values[metric] for metric, heading in HEADINGS.items() if metric != "fid"}
