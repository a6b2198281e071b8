"""How well a plan foretells: its prices beside what the finished runs of a store took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import TYPE_CHECKING

import pandas as pd

from bench import table
from bench.compare import changed
from bench.errors import UsageError
from bench.store import Planned, Store
from bench.table import Record

if TYPE_CHECKING:
    from bench.price import Price
    from bench.spec import RunSpec

FACTOR = 1.5  # seconds are foretold within it in nine cells of ten
EQUAL, UNEQUAL, OPEN = "equal", "NOT equal", "not fixed by the track"


def compare(
    specs: Iterable[RunSpec], store: Store, price: Callable[[list[RunSpec]], Mapping[str, Price]]
) -> pd.DataFrame:
    """One line for each planned cell of which the store has finished runs: FLOPs and seconds, foretold and taken.

    Seconds are of the processor, or between CUDA events; the median over the seeds. Of a stack they are those of
    training, which are measured on one seed alone; those of its evaluation are not. `changed` names what else is not
    as it was when the runs were made.

    Raises:
        UsageError: if the store has none of the planned runs, or none of them finished.
    """
    finished = table.cells(record for record in table.read(store) if record.status == "ok")
    planned = {spec.cell_id: spec for spec in specs if not spec.skip}
    cells = table.cells(Record(Planned.of(spec), None) for spec in planned.values())
    both = {key: cell for key, cell in cells.items() if key in finished}
    if not both:
        raise UsageError(
            f"'{store.root}' holds no finished run of this plan; name the store and the suite it was made of"
        )
    prices = price([planned[cell.records[0].run.cell_id] for cell in both.values()])
    lines = []
    for key, cell in both.items():
        done, foretold = finished[key], prices[cell.records[0].run.cell_id]
        stacked = any(record.get("time.stack") for record in done.records)
        expected = foretold.training if stacked else foretold.seconds
        seconds = median(taken(record, alone=not stacked) for record in done.records)
        flops = [float(record.get("work.flops_train") or 0.0) for record in done.records]
        same = EQUAL if all(f == foretold.flops for f in flops) else UNEQUAL
        lines.append(
            {
                **dict(zip(("suite", "track", "device", "objective", "dataset"), key, strict=True)),
                "runs": len(done.records),
                "gflops_foretold": foretold.flops / 1e9,
                "gflops": median(flops) / 1e9,
                "flops": OPEN if key[1] == "equal_seconds" else same,
                "seconds_of": "training" if stacked else "the run",
                "seconds_foretold": expected,
                "seconds": seconds,
                "ratio": seconds / expected,
                "changed": changed(cell, done) or "nothing",
            }
        )
    return pd.DataFrame(lines)


def taken(record: Record, *, alone: bool) -> float:
    """A run's seconds of training; `alone`, with those of set-up and evaluation."""
    parts = [("time.train_cuda", "time.train_cpu")]
    # older rows, and a denoiser's, have only the wall clock's
    parts += [(f"time.{part}_cpu", f"time.{part}_wall") for part in ("setup", "eval") if alone]
    return sum(float(next((s for path in part if (s := record.get(path)) is not None), 0.0)) for part in parts)


def within(compared: pd.DataFrame) -> int:
    """In how many cells the seconds were foretold within `FACTOR`."""
    return int(compared["ratio"].between(1 / FACTOR, FACTOR).sum())


def elsewhere(store: Store, processor: str) -> list[str]:
    """The processors that a store's runs were made on, but this one: their seconds are not this machine's."""
    ids = {env_id for record in table.read(store) if (env_id := record.get("env.env_id"))}
    return sorted(
        {str(store.environment(env_id).get("processor", "an unnamed processor")) for env_id in ids} - {processor}
    )
