"""What the samples of a suite's models are worth, sampler by sampler, beside sets of images whose worth is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.common.errors import UsageError
from bench.common.statistics import t_interval
from bench.results import leaderboard, tables
from bench.results.metric_values import PREFERRED, MetricKey
from bench.results.records import Cell, Record, by_dataset, group_cells, metric_basis, shown_name

SAMPLERS = {
    "own": "own sampler",
    "continued": "own sampler + MALA",
    "noise": "MALA from noise",
    "tempered": "tempered MALA from noise",
    "data": "MALA from data",
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
REFERENCE_SETS = ("test", GAUSSIAN, "uniform noise")
ReferenceSets = Mapping[str, Mapping[str, float]]
"""By set of images: n, and the value of each metric in `HEADINGS`."""
READING = (
    "Mean ± half the width of Student's 95 % interval over the seeds. Lower FID and KID are better; precision is the "
    "share of samples that lie among the data, recall that of the data among the samples; class entropy is in nats; "
    "neighbour distance, in the extractor's features, is to the nearest training image: that of test images is what "
    "new images have. Chains from data that have not left it score as the data do. What is marked as not an energy is "
    "a score network on the energies' trunk, by ancestral sampling: it is not ranked."
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


def sample_lines(records: Iterable[Record]) -> list[Line]:
    """Every objective by every sampler that was judged, on the one suite and data set that the records are of.

    The objective whose samples come nearest to the data stands first; chains that started from data do not count for
    that. An objective without any result has no line: the ranking says why.
    """
    found: list[tuple[float, list[Line]]] = []
    for (_, _, _, objective, _), cell in group_cells(records).items():
        of_one = [line for sampler in SAMPLERS if (line := _line(cell, objective, sampler))]
        from_nothing = [line.fid for line in of_one if line.fid is not None and line.sampler != "data"]
        found.append((min(from_nothing, default=math.inf), of_one))
    return [line for _, of_one in sorted(found, key=lambda each: each[0]) for line in of_one]


def samples_markdown(records: Sequence[Record], reference_sets: Mapping[str, ReferenceSets]) -> str:
    """The table of a suite, one a data set, and how it is read; "" where no named sampler was judged.

    Args:
        reference_sets: by data set, what the metrics say of sets whose quality is known; where there are some, a column
            holds FID over that of the Gaussian, which a model of images must beat.
    """
    parts = []
    for dataset, on_it in by_dataset(records).items():
        if not (found := sample_lines(on_it)):
            continue
        known = reference_sets.get(dataset, {})
        for name, values in known.items():
            words = {metric: f"{values[metric]:.3g}" for metric in HEADINGS}
            # FID depends on n, and a test set can be smaller
            about = f"n = {values['n']:.0f}"
            found.append(Line(f"*{name}*", about, values["fid"], words, found[0].basis))
        gaussian = known[GAUSSIAN]["fid"] if GAUSSIAN in known else None
        seeds = len({record.spec.seed for record in on_it})
        parts += [f"**{dataset}**, {found[0].basis}{_floor(on_it)}, {seeds} seed{'s' * (seeds > 1)}:"]
        parts += [tables.markdown_table(pd.DataFrame([_shown(line, gaussian) for line in found]))]
    return "\n\n".join([*parts, READING]) if parts else ""


def read_reference_sets(path: Path) -> ReferenceSets:
    """The sets of a table that `bench reference-metrics` wrote, those that a page shows.

    Raises:
        UsageError: if it is no such table.
    """
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        raise UsageError(f"'{path}' must be a table of bench reference-metrics; it is not readable: {error}") from None
    if missing := {"set", "n", *HEADINGS} - set(table.columns):
        raise UsageError(f"'{path}' must be a table of bench reference-metrics; it lacks {', '.join(sorted(missing))}")
    by_name = {str(line["set"]): line for line in table.to_dict("records")}
    return {
        name: {column: float(by_name[name][column]) for column in ("n", *HEADINGS)}
        for name in REFERENCE_SETS
        if name in by_name
    }


def _floor(records: Sequence[Record]) -> str:
    """What test images score at their number, which no model is expected to beat; "" where no row says it."""
    found = {
        detail.get("n_floor"): detail["floor"]
        for record in records
        for key, value in record.values.items()
        if key.metric == "fid" and "floor" in (detail := value.detail)
    }
    return "".join(f"; FID of {n} test images {floor:.3g}" for n, floor in sorted(found.items()))


def _line(cell: Cell, objective: str, sampler: str) -> Line | None:
    fid = _key(cell, "fid", sampler)
    if fid is None:
        return None
    keys = {metric: fid if metric == "fid" else _key(cell, metric, sampler) for metric in HEADINGS}
    values = {metric: leaderboard.format_cell(cell, key) if key else "n/a" for metric, key in keys.items()}
    basis = metric_basis(cell.records, fid)
    return Line(shown_name(cell, objective), sampler, t_interval(cell.numbers(fid)).mean, values, basis)


def _key(cell: Cell, metric: str, sampler: str) -> MetricKey | None:
    """A metric of the samples by a sampler, of the best weights, else of the averaged, else of the last."""
    wanted = (MetricKey(metric, sampler, weights) for weights in PREFERRED)
    return next((key for key in wanted if any(key in record.values for record in cell.completed)), None)


def _shown(line: Line, gaussian: float | None) -> dict[str, str]:
    text = {
        "objective": line.objective,
        "sampler": SAMPLERS.get(line.sampler, line.sampler),
        HEADINGS["fid"]: line.values["fid"],
    }
    if gaussian is not None:
        text["FID / FID of the Gaussian"] = "n/a" if line.fid is None else f"{line.fid / gaussian:.2f}"
    return text | {heading: line.values[metric] for metric, heading in HEADINGS.items() if metric != "fid"}
