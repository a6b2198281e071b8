"""Two stores side by side, paired by seed: what got better, what got worse, what a few seeds cannot tell apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from bench.common.errors import no_runs
from bench.common.run_spec import PLUGIN_IDENTITY, PluginSpec, RunSpec
from bench.common.statistics import Better, Comparison, Scale, holm, paired
from bench.results import leaderboard, tables
from bench.results.metric_values import MetricKey
from bench.results.records import FAILURES, Cell, Record, any_value, group_cells, metric_basis, read_records
from bench.results.store import Store

ALPHA = 0.05
MORE_WORK = 1.001  # of a step's counted FLOPs, which carry no noise
SLOWER = 1.05  # of training seconds a step, paired by seed
FAULTS = ("worse", "slower", "more-work")
Key = tuple[str, str, str, str, str]
_LEGEND = (
    "Means over the seeds that both have. B against A: × the ratio of the geometric means, or where a metric can be 0 "
    "or less, or is better when higher, the difference of the means; with Student's paired 95 % interval. *better* and "
    "*worse*: a paired t test, of logarithms where it is a ratio, separates the two, Holm-corrected over all lines; "
    "*not separable*: it does not; *no ratio*: a value is not positive; *no spread*: the difference is the same at "
    "every seed, which no test judges. ?: a value is not certified. *more work*: a step's counted FLOPs rose by more "
    "than a thousandth; *slower*: the 95 % interval of the paired ratio of seconds a step lies above ×1.05, which is "
    "of the code only where both ran on one idle machine. A cell of other code or settings names what changed."
)


@dataclass(frozen=True)
class Line:
    """One objective on one data set in both stores."""

    key: Key
    metric: MetricKey | None
    better: Better
    a: Cell | None
    b: Cell | None
    comparison: Comparison | None
    uncertified: bool = False

    @property
    def lost(self) -> int:
        """At how many seeds A completed what failed in B."""
        done = {record.spec.seed for record in self.a.completed} if self.a else set()
        failed = {r.spec.seed for r in self.b.records if r.status in FAILURES} if self.b else set()
        return len(done & failed)

    @property
    def work(self) -> float | None:
        """B's counted FLOPs of a step over A's; None where they are not counted in both."""
        old, new = (_per_step(cell, "flops_train") for cell in (self.a, self.b))
        return float(median(new.values()) / median(old.values())) if old and new else None

    @property
    def slower(self) -> bool:
        """Whether B's seconds a step are shown to be more than A's."""
        old, new = (_per_step(cell, "train_seconds") for cell in (self.a, self.b))
        seeds = sorted(old.keys() & new.keys())
        low = paired([new[s] for s in seeds], [old[s] for s in seeds], scale="ratio").effect.low
        return low is not None and low > SLOWER

    def faults(self, word: str) -> list[str]:
        """Which of `FAULTS` it shows, given its verdict; a run that fails now is worse."""
        more = self.work is not None and self.work > MORE_WORK
        shown = (word == "worse" or self.lost > 0, self.slower, more)
        return [fault for fault, seen in zip(FAULTS, shown, strict=True) if seen]

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
            return "one common seed" if difference.word == "one seed" else difference.word
        if p_value > ALPHA:
            return "not separable"
        return "better" if (difference.mean < 0) == (self.better == "lower") else "worse"


def stores_markdown(a: Path, b: Path) -> str:
    """The comparison of the stores at `a` and `b`, for a pull request.

    Raises:
        UsageError: if one of them holds no run.
    """
    return judged_stores(a, b)[0]


def judged_stores(a: Path, b: Path) -> tuple[str, Counter[str]]:
    """The comparison in Markdown, its verdict first, and at how many cells it shows each of `FAULTS`.

    Raises:
        UsageError: if one of the stores holds no run.
    """
    lines = compare_stores(_records(a), _records(b))
    tests = {line.key: p for line in lines if line.comparison and (p := line.comparison.p_value) is not None}
    adjusted = holm(tests)
    words = {line.key: line.word(adjusted.get(line.key)) for line in lines}
    counts = ", ".join(f"{n} {word}" for word, n in Counter(words.values()).most_common())
    faults = Counter(fault for line in lines for fault in line.faults(words[line.key]))
    said = ", ".join(f"{fault.replace('-', ' ')} at {faults[fault]}" for fault in FAULTS if faults[fault])
    verdict = f"**B against A: {said or 'nothing worse, slower or of more work'}, of {len(lines)} cells; {counts}.**"
    shown = pd.DataFrame([_shown(line, words[line.key]) for line in lines])
    return f"{verdict}\n\nA: `{a}`, B: `{b}`\n\n{tables.markdown_table(shown)}\n\n{_LEGEND}\n", faults


def compare_stores(a: Sequence[Record], b: Sequence[Record]) -> list[Line]:
    """Every cell of either, in A's order and then what only B has."""
    cells_a, cells_b = group_cells(a), group_cells(b)
    return [_line(key, cells_a.get(key), cells_b.get(key)) for key in dict.fromkeys([*cells_a, *cells_b])]


def _line(key: Key, a: Cell | None, b: Cell | None) -> Line:
    both = [record for cell in (a, b) if cell for record in cell.records]
    shared = [(metric := leaderboard.primary_key(c.records), metric_basis(c.records, metric)) for c in (a, b) if c]
    # a value of one metric, or on some features, cannot be paired with a value of another, or on others
    common = shared[0][0] if len(set(shared)) == 1 else None
    about = any_value(both, common)
    doubt = any(cell.uncertified(common) for cell in (a, b) if cell)
    return Line(key, common, about.better, a, b, _paired(a, b, common, about.scale), doubt)


def _paired(a: Cell | None, b: Cell | None, metric: MetricKey | None, scale: Scale) -> Comparison | None:
    if a is None or b is None:
        return None
    values_a, values_b = _by_seed(a, metric), _by_seed(b, metric)
    seeds = sorted(values_a.keys() & values_b.keys())
    comparison = paired([values_b[seed] for seed in seeds], [values_a[seed] for seed in seeds], scale=scale)
    return comparison if comparison.difference.n or comparison.difference.word == "no ratio" else None


def _by_seed(cell: Cell, metric: MetricKey | None) -> dict[int, float | None]:
    return {record.spec.seed: value for record, value in zip(cell.records, cell.seeds(metric), strict=True)}


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
        "B against A": _effect(line.comparison),
        "verdict": word + "?" * (line.uncertified and word in ("better", "worse")),
        "completed": f"{_completed(line.a)} → {_completed(line.b)}",
        "work": "n/a" if line.work is None else f"×{line.work:.4g}" + " (more)" * ("more-work" in line.faults(word)),
        "train s": f"{_seconds(line.a)} → {_seconds(line.b)}" + " (slower)" * line.slower,
        "changed": changed(line.a, line.b),
    }


def _metric(line: Line) -> str:
    basis = metric_basis((record for cell in (line.a, line.b) if cell for record in cell.records), line.metric)
    return (line.metric.column.removesuffix("_best") if line.metric else "n/a") + f" ({basis})" * bool(basis)


def _mean(line: Line, cell: Cell | None) -> str:
    """The mean over the common seeds, or over its own where there is nothing to pair."""
    if cell is None:
        return "–"
    other = line.b if cell is line.a else line.a
    own = _by_seed(cell, line.metric)
    partner = _by_seed(other, line.metric) if other and line.comparison else own
    values = [v for seed, v in own.items() if v is not None and partner.get(seed) is not None]
    mark = "?" * bool(cell.uncertified(line.metric))
    return f"{sum(values) / len(values):.4g}{mark}" if values else cell.word(line.metric)


def _effect(comparison: Comparison | None) -> str:
    """ "×1.03 (0.97 to 1.09; n = 3)" or "+0.021 (-0.02 to +0.06; n = 3)"."""
    if comparison is None or comparison.effect.mean is None:
        return "n/a"
    found, form = comparison.effect, ".3g" if comparison.scale == "ratio" else "+.3g"
    span = found.word if found.low is None or found.high is None else f"{found.low:{form}} to {found.high:{form}}"
    return f"{'×' * (comparison.scale == 'ratio')}{found.mean:{form}} ({span}; n = {found.n})"


def _completed(cell: Cell | None) -> str:
    return "–" if cell is None else f"{len(cell.completed)} of {len(cell.records)}"


def _per_step(cell: Cell | None, what: str) -> dict[int, float]:
    """A measured total over the steps that it took, by seed."""
    measured = {record.spec.seed: record.measured() for record in (cell.completed if cell else [])}
    return {seed: total / m["steps"] for seed, m in measured.items() if (total := m[what]) and m["steps"]}


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
    aside = {"suite", "suite_version", "seed", "timeout_seconds", "memory_gb", "skip"}
    parts = [f.name for f in fields(RunSpec) if f.name not in aside]
    return ", ".join(k for k in parts if _identity(getattr(one.spec, k)) != _identity(getattr(two.spec, k)))


def _identity(part: Any) -> Any:
    """A part of a specification without the words about it, which change no number."""
    if not isinstance(part, PluginSpec):
        return part
    return {name: getattr(part, name, None) for name in PLUGIN_IDENTITY}


def _records(root: Path) -> list[Record]:
    records = read_records(Store(root))
    if not records:
        raise no_runs(root)
    return records
