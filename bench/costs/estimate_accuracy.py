"""Accuracy of cost estimates: predicted FLOPs and seconds beside those of the completed runs of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.common.errors import UsageError
from bench.common.run_spec import BY_CLOCK
from bench.results import records
from bench.results.records import Cell, Record
from bench.results.store import Planned, Store
from bench.results.store_comparison import changed
from bench.results.tables import format_cells, markdown_table

if TYPE_CHECKING:
    from bench.common.run_spec import RunSpec
    from bench.costs.estimate import CostEstimate


FACTOR = 1.5  # predicted seconds are within it in nine cells of ten
EQUAL, UNEQUAL, OPEN = "equal", "NOT equal", "not fixed by the track"


def compare_estimates(
    specs: Iterable[RunSpec], store: Store, estimate: Callable[[list[RunSpec]], Mapping[str, CostEstimate]]
) -> pd.DataFrame:
    """One line for each planned cell of which the store has completed runs: predicted and measured FLOPs and seconds.

    Seconds are of the processor, or between CUDA events; the median over the seeds. Of seeds that were trained
    together they are those of training, which are measured on one seed alone; those of its evaluation are not.
    `changed` names what else differs between the plan and the runs.

    Raises:
        UsageError: if the store has none of the planned runs, or none of them completed.
    """
    completed = records.group_cells(record for record in records.read_records(store) if record.status == "ok")
    planned = {spec.cell_id: spec for spec in specs if not spec.skip}
    cells = records.group_cells(records.records_of((Planned.of(spec), None) for spec in planned.values()))
    both = {key: cell for key, cell in cells.items() if key in completed}
    if not both:
        raise UsageError(f"No completed run of this plan in '{store.root}'; give the store and suite of the same runs.")
    estimates = estimate([planned[cell.records[0].run.cell_id] for cell in both.values()])
    return pd.DataFrame(
        _line(key, cell, completed[key], estimates[cell.records[0].run.cell_id]) for key, cell in both.items()
    )


def _line(key: tuple[str, ...], cell: Cell, done: Cell, predicted: CostEstimate) -> dict[str, Any]:
    together = any(record.get("time.stack") for record in done.records)
    expected = predicted.training if together else predicted.seconds
    seconds = median(taken(record, alone=not together) for record in done.records)
    flops = [float(record.get("work.flops_train") or 0.0) for record in done.records]
    same = EQUAL if all(f == predicted.flops for f in flops) else UNEQUAL
    return {
        **dict(zip(("suite", "track", "device", "objective", "dataset"), key, strict=True)),
        "runs": len(done.records),
        "gflops_predicted": predicted.flops / 1e9,
        "gflops": median(flops) / 1e9,
        "flops": OPEN if key[1] in BY_CLOCK else same,
        "seconds_of": "training" if together else "the run",
        "seconds_predicted": expected,
        "seconds": seconds,
        "ratio": seconds / expected,
        "changed": changed(cell, done) or "nothing",
    }


def taken(record: Record, *, alone: bool) -> float:
    """A run's seconds of training; `alone`, with those of set-up and evaluation."""
    parts = [("time.train_cuda", "time.train_cpu")]
    # older rows, and a denoiser's, have only the wall clock's
    parts += [(f"time.{part}_cpu", f"time.{part}_wall") for part in ("setup", "eval") if alone]
    return sum(float(next((s for path in part if (s := record.get(path)) is not None), 0.0)) for part in parts)


def unequal(compared: pd.DataFrame) -> int:
    """The number of cells whose FLOPs differ from the prediction."""
    return int((compared["flops"] == UNEQUAL).sum())


def within(compared: pd.DataFrame) -> int:
    """The number of cells whose seconds are within `FACTOR` of the prediction."""
    return int(compared["ratio"].between(1 / FACTOR, FACTOR).sum())


def elsewhere(store: Store, processor: str) -> list[str]:
    """The processors that a store's runs were made on, other than the given one: their seconds do not compare."""
    ids = {env_id for record in records.read_records(store) if (env_id := record.get("env.env_id"))}
    return sorted(
        {str(store.environment(env_id).get("processor", "an unnamed processor")) for env_id in ids} - {processor}
    )


def accuracy_markdown(compared: pd.DataFrame, others: Sequence[str], processor: str) -> str:
    """The comparison as a table and sentences.

    Args:
        others: the result of `elsewhere`.
        processor: the one that the predictions are for.
    """
    lines = ["# Accuracy of cost estimates", "", markdown_table(format_cells(compared), padded=True), ""]
    if others:
        lines.append(f"Seconds are predicted for {processor}; the runs were made on {', '.join(others)}.")
    if together := int((compared["seconds_of"] == "training").sum()):
        lines.append(f"In {together} cells the seconds are those of training, because their seeds ran together.")
    fixed = int((compared["flops"] != OPEN).sum())
    lines.append(f"FLOPs are predicted exactly in {fixed - unequal(compared)} of {fixed} cells.")
    lines.append(f"Seconds are predicted within a factor of {FACTOR} in {within(compared)} of {len(compared)} cells.")
    return "\n".join(lines)
