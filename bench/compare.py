"""Two stores side by side, paired by seed: what got better, what got worse, what a few seeds cannot tell apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench import table
from bench.errors import UsageError
from bench.statistics import Comparison, holm, paired
from bench.store import Store
from bench.table import Cell, Record

ALPHA = 0.05
Key = tuple[str, str, str, str, str]
_LEGEND = (
    "Means over the seeds that both have; the difference is B − A with Student's 95 % interval of the paired "
    "differences. *better* and *worse*: a paired t test separates the two, Holm-corrected over all lines; "
    "*not separable*: it does not. A cell of other code or settings names what changed."
)


@dataclass(frozen=True)
class Line:
    """One objective on one data set in both stores."""

    key: Key
    metric: str
    better: str
    a: Cell | None
    b: Cell | None
    comparison: Comparison | None
    uncertified: bool = False

    def word(self, p_value: float | None) -> str:
        """What may be said, given the corrected p-value."""
        if self.a is None or self.b is None:
            return "only in A" if self.b is None else "only in B"
        if self.comparison is None:
            return "no common seed with a value"
        difference = self.comparison.difference
        if difference.mean == 0 and (difference.low, difference.high) in ((0, 0), (None, None)):
            return "same numbers"
        if p_value is None or difference.mean is None:
            return "one common seed"
        if p_value > ALPHA:
            return "not separable"
        return "better" if (difference.mean < 0) == (self.better == "lower") else "worse"


def markdown(a: Path, b: Path) -> str:
    """The comparison of the stores at `a` and `b`, for a pull request.

    Raises:
        UsageError: if one of them holds no plan.
    """
    lines = compare(_records(a), _records(b))
    tests = {line.key: p for line in lines if line.comparison and (p := line.comparison.p_value) is not None}
    adjusted = holm(tests)
    words = {line.key: line.word(adjusted.get(line.key)) for line in lines}
    counts = ", ".join(f"{n} {word}" for word, n in Counter(words.values()).most_common())
    shown = pd.DataFrame([_shown(line, words[line.key]) for line in lines])
    return f"# A: `{a}`, B: `{b}`\n\n{counts}.\n\n{table.markdown(shown)}\n\n{_LEGEND}\n"


def compare(a: Sequence[Record], b: Sequence[Record]) -> list[Line]:
    """Every cell of either, in A's order and then what only B has."""
    cells_a, cells_b = table.cells(a), table.cells(b)
    return [_line(key, cells_a.get(key), cells_b.get(key)) for key in dict.fromkeys([*cells_a, *cells_b])]


def _line(key: Key, a: Cell | None, b: Cell | None) -> Line:
    both = [record for cell in (a, b) if cell for record in cell.records]
    shared = [(name := table.primary(c.records) or "", table.bases(c.records, name)) for c in (a, b) if c]
    # a value of one metric, or on some features, cannot be paired with a value of another, or on others
    column = shared[0][0] if len(set(shared)) == 1 else ""
    estimates = [e for record in both if record.status == "ok" and (e := record.estimate(column))]
    better = str(estimates[0].get("better", "lower")) if estimates else "lower"
    doubt = any(cell.uncertified(column) for cell in (a, b) if cell)
    return Line(key, column, better, a, b, _paired(a, b, column), doubt)


def _paired(a: Cell | None, b: Cell | None, column: str) -> Comparison | None:
    if a is None or b is None:
        return None
    values_a, values_b = _by_seed(a, column), _by_seed(b, column)
    seeds = sorted(values_a.keys() & values_b.keys())
    comparison = paired([values_b[seed] for seed in seeds], [values_a[seed] for seed in seeds])
    return comparison if comparison.difference.n else None


def _by_seed(cell: Cell, column: str) -> dict[int, float | None]:
    return {record.run.seed: value for record, value in zip(cell.records, cell.seeds(column), strict=True)}


def _shown(line: Line, word: str) -> dict[str, str]:
    suite, track, device, objective, dataset = line.key
    return {
        "suite": " ".join(
            [suite, *([track] if track != "equal_steps" else []), *([device] if device != "cpu" else [])]
        ),
        "objective": objective,
        "data set": dataset,
        "metric": _metric(line),
        "A": _mean(line, line.a),
        "B": _mean(line, line.b),
        "B − A": _difference(line.comparison),
        "verdict": word + "?" * (line.uncertified and word in ("better", "worse")),
        "succeeded": f"{_succeeded(line.a)} → {_succeeded(line.b)}",
        "train s": f"{_seconds(line.a)} → {_seconds(line.b)}",
        "changed": changed(line.a, line.b),
    }


def _metric(line: Line) -> str:
    basis = table.bases((record for cell in (line.a, line.b) if cell for record in cell.records), line.metric)
    return (line.metric.removesuffix("_best") or "n/a") + f" ({basis})" * bool(basis)


def _mean(line: Line, cell: Cell | None) -> str:
    """The mean over the common seeds, or over its own where there is nothing to pair."""
    if cell is None:
        return "–"
    other = line.b if cell is line.a else line.a
    own = _by_seed(cell, line.metric)
    partner = _by_seed(other, line.metric) if other and line.comparison else own
    values = [v for seed, v in own.items() if v is not None and partner.get(seed) is not None]
    return f"{sum(values) / len(values):.4g}" if values else cell.word(line.metric)


def _difference(comparison: Comparison | None) -> str:
    if comparison is None or comparison.difference.mean is None:
        return "n/a"
    found = comparison.difference
    span = found.word if found.low is None or found.high is None else f"{found.low:+.3g} to {found.high:+.3g}"
    return f"{found.mean:+.3g} ({span}; n = {found.n})"


def _succeeded(cell: Cell | None) -> str:
    return "–" if cell is None else f"{len(cell.succeeded)} of {len(cell.records)}"


def _seconds(cell: Cell | None) -> str:
    seconds = cell.median("train_seconds") if cell else None
    return "–" if seconds is None else f"{seconds:.3g}"


def changed(a: Cell | None, b: Cell | None) -> str:
    """Which parts of the specification differ between the two; "" where both ran the same cell."""
    if a is None or b is None:
        return ""
    one, two = a.records[0].run, b.records[0].run
    if one.cell_id == two.cell_id:
        return ""
    aside = {"suite", "suite_version", "seed", "timeout_seconds", "skip"}
    keys = [k for k in dict.fromkeys([*one.spec, *two.spec]) if k not in aside]
    return ", ".join(k for k in keys if _identity(one.spec.get(k)) != _identity(two.spec.get(k)))


def _identity(part: Any) -> Any:
    """A part of a specification without the words about it, which change no number."""
    if not isinstance(part, dict) or "sha" not in part:
        return part
    return {k: v for k, v in part.items() if k in ("name", "params", "sha", "version")}


def _records(root: Path) -> list[Record]:
    records = table.read(Store(root))
    if not records:
        raise UsageError(f"'{root}' holds no plan of any suite; compare two stores that runs were made into")
    return records
