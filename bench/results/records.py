"""Rows with the runs that they are of, and the cells that they group into."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from statistics import median
from typing import Any, NamedTuple

from bench.common.machine_faults import MACHINE_ERROR
from bench.common.run_spec import NOT_AN_ENERGY, RunSpec
from bench.results.entry_names import entry_key, entry_names
from bench.results.metric_values import MetricKey, MetricValue, reasons_of_row, values_of_row
from bench.results.row_index import Place, newest_rows
from bench.results.store import Attempt, Planned, Store

FAILURES = ("diverged", "error", "timeout", "oom", "killed", MACHINE_ERROR)
# where a column of results.csv stands in a row
MEASURED = {
    "steps": "work.steps",
    "train_seconds": "time.train_wall",
    "flops_train": "work.flops_train",
    "forwards": "work.forwards",
    "input_gradients": "work.input_gradients",
    "peak_memory_mb": "memory.rss_peak",
    "n_params": "model.n_params",
    "entropy": "model.entropy",
    "kl_floor": "model.kl_floor",
}
_PLACES = {column: tuple(path.split(".")) for column, path in MEASURED.items()}
_PARTS = {part for part, _ in _PLACES.values()}


_NO_VALUE = MetricValue()


class BoardKey(NamedTuple):
    """What runs share that may stand in one table: suite, track, and device with what `RunSpec.place` adds to it."""

    suite: str
    track: str
    device: str


@dataclass(frozen=True)
class Record:
    """A planned run and its newest row, or None if it has none.

    Attributes:
        objective: the name under which tables and figures show its entry.
        suite: what `run --suite` takes for its suite, where that is not its name.
        attempt: whose row it is, where it lies in a store.
    """

    run: Planned
    row: Mapping[str, object] | None
    objective: str
    suite: str = ""
    attempt: Attempt | None = field(default=None, compare=False, repr=False)

    @property
    def command(self) -> str:
        """What makes the runs of its suite again, all of them."""
        command, name = self.spec.command, self.spec.suite
        return command.replace(f"--suite {name}", f"--suite {shlex.quote(self.suite or name)}", 1)

    @property
    def spec(self) -> RunSpec:
        return self.run.spec

    @property
    def dataset(self) -> str:
        return self.run.spec.dataset.label

    @property
    def board(self) -> BoardKey:
        return BoardKey(self.spec.suite, self.spec.track, self.spec.place)

    @cached_property
    def status(self) -> str:
        return str(self.row["status"]) if self.row else "missing"

    @property
    def reason(self) -> str:
        """Why there is no result, or why a result lacks some numbers."""
        if self.row is None:
            return "planned, not run"
        if self.status != "ok":
            return str(self.row["reason"] or "")
        if not any(value.reason for value in self.values.values()):
            return ""
        return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons_of_row(self.row).items())

    def get(self, path: str) -> Any:
        """The value at a dotted path of the row, None if there is none."""
        value: Any = self.row
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    @cached_property
    def values(self) -> Mapping[MetricKey, MetricValue]:
        """Every metric's values, none of which a row without a result has."""
        return values_of_row(self.row)

    def value(self, key: MetricKey | None) -> MetricValue:
        """A metric's value; an empty one where there is none."""
        return self.values.get(key, _NO_VALUE) if key else _NO_VALUE

    @cached_property
    def _measured(self) -> dict[str, Any]:
        parts = {name: self.get(name) or {} for name in _PARTS}  # each once: a row unpacks what it is asked for
        values = {column: parts[part].get(name) for column, (part, name) in _PLACES.items()}
        memory = parts["memory"].get("cuda_allocated_peak") or values["peak_memory_mb"]
        return {**values, "peak_memory_mb": None if memory is None else memory / 1e6}

    def measured(self) -> dict[str, Any]:
        """What the run cost and how large it was, by column."""
        return dict(self._measured)


@dataclass
class Cell:
    """The planned runs of one objective on one data set: one a seed."""

    records: list[Record] = field(default_factory=list)
    _completed: list[bool] = field(default_factory=list, repr=False, compare=False)

    @property
    def completed(self) -> list[Record]:
        if len(self._completed) != len(self.records):  # some are asked for dozens of times
            self._completed = [record.status == "ok" for record in self.records]
        return list(compress(self.records, self._completed))

    def seeds(self, key: MetricKey | None) -> list[float | None]:
        """The metric by planned seed; None where there is no number."""
        return [r.value(key).value if r.status == "ok" else None for r in self.records]

    def numbers(self, key: MetricKey | None) -> list[float]:
        """The metric at the seeds that have it."""
        return [value for value in self.seeds(key) if value is not None]

    def uncertified(self, key: MetricKey | None) -> int:
        """At how many seeds the metric has a value that is not certified."""
        found = (record.value(key) for record in self.completed)
        return sum(each.value is not None and not each.certified for each in found)

    def median(self, column: str) -> float | None:
        values = [v for record in self.completed if (v := record._measured[column]) is not None]
        return float(median(values)) if values else None

    def word(self, key: MetricKey | None) -> str:
        """What stands where a metric has no number: the commonest status, with the steps at which it came."""
        status = Counter(record.status for record in self.records).most_common(1)[0][0]
        if status == "ok":
            return next((reason for r in self.completed if (reason := r.value(key).reason)), "n/a")
        steps = sorted(int(step) for r in self.records if r.status == status and (step := r.get("last_step")))
        if status != "diverged" or not steps:
            return {"missing": "not run"}.get(status, status)
        return f"diverged at {steps[0]}" + (f"–{steps[-1]}" if steps[-1] != steps[0] else "")


def shown_name(cell: Cell, objective: str) -> str:
    """An entry's name in a table of entries and of what they are measured against."""
    return f"{objective} ({NOT_AN_ENERGY})" if cell.records[0].spec.trained_field else objective


def read_records(store: Store, plan: Iterable[RunSpec] | None = None) -> list[Record]:
    """Every planned run with its newest row; without a plan, every run that any plan of the store asks for."""
    planned = store.planned() if plan is None else Planned.all_of(plan)
    unique = {run.key: run for run in planned}
    newest = newest_rows(store.root)
    attempts = [newest.get(Place(store.cell_of(run), run.spec.seed)) for run in unique.values()]
    rows = [None if attempt is None else attempt.row() for attempt in attempts]
    found = records_of(zip(unique.values(), rows, strict=True))
    found = [replace(record, attempt=attempt) for record, attempt in zip(found, attempts, strict=True)]
    references = {suite: store.suite_reference(suite) for suite in {record.spec.suite for record in found}}
    return [replace(record, suite=references[record.spec.suite]) for record in found]


def records_of(runs: Iterable[tuple[Planned, Mapping[str, Any] | None]]) -> list[Record]:
    """Runs with their rows, named so that no two entries are alike."""
    listed = list(runs)
    names = entry_names(run.spec for run, _ in listed)
    return [Record(run, row, names[entry_key(run.spec)]) for run, row in listed]


def group_cells(records: Iterable[Record]) -> dict[tuple[str, str, str, str, str], Cell]:
    """Records by (suite, track, device, objective, data set)."""
    found: dict[tuple[str, str, str, str, str], Cell] = {}
    for record in records:
        key = (*record.board, record.objective, record.dataset)
        found.setdefault(key, Cell()).records.append(record)
    return found


def by_dataset(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records by data set, in the order in which the data sets come."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.dataset, []).append(record)
    return found


def metric_basis(records: Iterable[Record], key: MetricKey | None) -> str:
    """What the values of an image metric stand on; several, if they may not be compared; "" for other metrics."""
    return " / ".join(sorted({basis for record in records if (basis := record.value(key).basis)}))


def metric_bounds(records: Iterable[Record], key: MetricKey | None) -> str:
    """What the values of a metric bound, in words; "" where they are estimates of the thing itself."""
    return " / ".join(sorted({bounds for record in records if (bounds := record.value(key).bounds)}))


def any_value(records: Iterable[Record], key: MetricKey | None) -> MetricValue:
    """A value of a metric, for its unit and direction; an empty one where no record has any."""
    return next((record.values[key] for record in records if key and key in record.values), MetricValue())
