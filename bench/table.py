"""Rows to tables: every planned run once, summaries over seeds, the leaderboard. All of it can be made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UsageError
from bench.statistics import Better, median_bounds, shared_ranks, success_rate, t_interval
from bench.store import Planned, Spec, Store

VARIANTS = {"last": "", "ema": "_ema", "best": "_best"}
PRIMARY = ("kl", "nll", "fid", "sliced_wasserstein")  # what there is no likelihood for is judged by its samples
FAILURES = ("diverged", "error", "timeout", "oom", "killed")
# where a column of results.csv stands in a row
_MEASURED = {
    "steps": "work.steps",
    "train_seconds": "time.train_wall",
    "flops_train": "work.flops_train",
    "forwards": "work.forwards",
    "input_gradients": "work.input_gradients",
    "peak_memory_mb": "memory.rss_peak",
    "n_params": "model.n_params",
    "entropy": "model.entropy",
}
_PLANNED = ["suite", "objective", "params", "dataset", "network", "track", "device", "seed", "status", "reason"]
COLUMNS = [*_PLANNED, *_MEASURED]


@dataclass(frozen=True)
class Record:
    """A planned run and its newest row, or None if it has none."""

    run: Planned
    row: dict[str, Any] | None

    @property
    def status(self) -> str:
        return str(self.row["status"]) if self.row else "missing"

    @property
    def reason(self) -> str:
        """Why there is no result, or why a result lacks some numbers."""
        if self.row is None:
            return "planned, not run"
        if self.status != "ok":
            return str(self.row["reason"] or "")
        absent: dict[str, list[str]] = {}
        for name, variants in self.row.get("metrics", {}).items():
            for reason in dict.fromkeys(v["reason"] for v in variants.values() if v.get("reason")):
                absent.setdefault(reason, []).append(name)
        return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in absent.items())

    def get(self, path: str) -> Any:
        """The value at a dotted path of the row, None if there is none."""
        value: Any = self.row
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def estimate(self, column: str) -> dict[str, Any]:
        """A metric's value and what belongs to it, by the name of its column."""
        return self.estimates().get(column, {})

    def estimates(self) -> dict[str, dict[str, Any]]:
        metrics = self.get("metrics") or {}
        return {
            name.replace(".", "_") + VARIANTS[variant]: found
            for name, variants in metrics.items()
            for variant, found in variants.items()
        }

    def basis(self, column: str) -> str:
        """What an image metric stands on and must be read with, "n = 1000, digits-0123abcd"; "" for other metrics."""
        found = self.estimate(column)
        features = found.get("detail", {}).get("extractor")
        return f"n = {found['n']}, {features}" if features else ""

    def measured(self) -> dict[str, Any]:
        values = {column: self.get(path) for column, path in _MEASURED.items()}
        memory = self.get("memory.cuda_allocated_peak") or values["peak_memory_mb"]
        return {**values, "peak_memory_mb": None if memory is None else memory / 1e6}


@dataclass
class Cell:
    """The planned runs of one objective on one data set: one a seed."""

    records: list[Record] = field(default_factory=list)

    @property
    def succeeded(self) -> list[Record]:
        return [record for record in self.records if record.status == "ok"]

    def seeds(self, column: str) -> list[float | None]:
        """The metric by planned seed; None where there is no number."""
        return [r.estimate(column).get("value") if r.status == "ok" else None for r in self.records]

    def numbers(self, column: str) -> list[float]:
        return [value for value in self.seeds(column) if value is not None]

    def uncertified(self, column: str) -> int:
        found = (record.estimate(column) for record in self.succeeded)
        return sum(e.get("value") is not None and not e.get("certified", True) for e in found)

    def median(self, column: str) -> float | None:
        values = [v for record in self.succeeded if (v := record.measured()[column]) is not None]
        return float(pd.Series(values).median()) if values else None

    def word(self, column: str) -> str:
        """What stands where a metric has no number: the commonest status, with the steps at which it came."""
        status = Counter(record.status for record in self.records).most_common(1)[0][0]
        if status == "ok":
            return next((reason for r in self.succeeded if (reason := r.estimate(column).get("reason"))), "n/a")
        steps = sorted(r.row["last_step"] for r in self.records if r.row and r.status == status and r.row["last_step"])
        if status != "diverged" or not steps:
            return {"missing": "not run"}.get(status, status)
        return f"diverged at {steps[0]}" + (f"–{steps[-1]}" if steps[-1] != steps[0] else "")


def read(store: Store, plan: Iterable[Spec] | None = None) -> list[Record]:
    """Every planned run with its newest row; without a plan, every run that any plan of the store asks for."""
    planned = store.planned() if plan is None else [Planned.of(spec) for spec in plan]
    unique = {run.key: run for run in planned}
    return [Record(run, rows[-1] if (rows := store.rows_of(run)) else None) for run in unique.values()]


def frame(store: Store, plan: Iterable[Spec] | None = None) -> pd.DataFrame:
    """`lines_of` a store's planned runs."""
    return lines_of(read(store, plan))


def lines_of(records: Sequence[Record]) -> pd.DataFrame:
    """results.csv: one line per planned run, and a column per metric and variant of the weights.

    Beside an image metric stand the extractor and the number of samples that it was taken with.
    """
    lines, bases = [], []
    for record in records:
        spec = record.run.spec
        line = {
            "suite": record.run.suite,
            "objective": spec["objective"]["name"],
            "params": ",".join(f"{k}={v}" for k, v in spec["objective"]["params"].items()),
            "dataset": record.run.dataset,
            "network": spec["network"]["name"],
            "track": spec["track"],
            "device": record.run.device,
            "seed": record.run.seed,
            "status": record.status,
            "reason": record.reason,
        }
        values = {column: found.get("value") for column, found in record.estimates().items()}
        lines.append({**line, **record.measured(), **values})
        images = {_stem(c): e for c, e in record.estimates().items() if record.basis(c)}
        bases.append({f"{name}_{k}": v for name, e in images.items() for k, v in _basis(e).items()})
    found = {name for line in lines for name in line} - set(COLUMNS)
    planned = {
        ref.partition("[")[0] for record in records for ref in record.run.spec.get("evaluation", {}).get("metrics", ())
    }
    # planned ones too: which columns there are must not depend on what failed
    names = {_stem(column) for column in found}
    # a metric of several values, or of several samplers, has a column for each of them, once there is one
    names |= {name for name in planned if not any(n.startswith(name) for n in names)}
    metrics = [name + suffix for name in sorted(names) for suffix in VARIANTS.values()]
    beside = sorted({column for basis in bases for column in basis})
    lines = [line | basis for line, basis in zip(lines, bases, strict=True)]
    table = pd.DataFrame(lines, columns=[*COLUMNS, *metrics, *beside])
    counts = [column for column in beside if column.endswith("_n")]
    whole = {column: "Int64" for column in ("seed", "steps", "n_params", *counts)}
    numbers = {column: "float64" for column in [*_MEASURED, *metrics] if column not in whole}
    return table.astype({**whole, **numbers})


def cells(records: Iterable[Record]) -> dict[tuple[str, str, str, str, str], Cell]:
    """Records by (suite, track, device, objective, data set)."""
    found: dict[tuple[str, str, str, str, str], Cell] = {}
    for record in records:
        run = record.run
        key = (run.suite, str(run.spec["track"]), run.device, run.objective, run.dataset)
        found.setdefault(key, Cell()).records.append(record)
    return found


def by_dataset(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records by data set, in the order in which the data sets come."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.run.dataset, []).append(record)
    return found


def summary(records: Sequence[Record]) -> pd.DataFrame:
    """Per suite, objective and data set: how many runs succeeded, and each metric's mean, t interval and median.

    A median's best and worst case count the failed runs as better, then as worse, than any number.
    """
    better = {name: e.get("better", "lower") for record in records for name, e in record.estimates().items()}
    lines = []
    for key, cell in cells(records).items():
        skipped, ok = sum(record.status == "skipped" for record in cell.records), len(cell.succeeded)
        planned = len(cell.records) - skipped  # what could not have run has not failed
        rate = success_rate(ok, planned)
        line: dict[str, Any] = dict(zip(("suite", "track", "device", "objective", "dataset"), key, strict=True))
        line |= {"planned": len(cell.records), "skipped": skipped, "ok": ok}
        line |= {"success_rate": rate.mean, "success_low": rate.low, "success_high": rate.high}
        line |= {column: cell.median(column) for column in ("train_seconds", "flops_train", "peak_memory_mb")}
        for name in sorted(better):
            values = cell.numbers(name)
            interval = t_interval(values)
            best, worst = median_bounds(values, planned, better[name])
            line |= {f"{name}_mean": interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
            line |= {f"{name}_median": float(pd.Series(values).median()) if values else None, f"{name}_n": len(values)}
            line |= {f"{name}_median_best_case": best, f"{name}_median_worst_case": worst}
            line[f"{name}_uncertified"] = cell.uncertified(name)
            if basis := bases(cell.records, name):
                line[f"{name}_basis"] = basis
        lines.append(line)
    return pd.DataFrame(lines)


def bases(records: Iterable[Record], column: str) -> str:
    """What the values of an image metric stand on; several, if they may not be compared; "" for other metrics."""
    return " / ".join(sorted({basis for record in records if (basis := record.basis(column))}))


def primary(records: Iterable[Record]) -> str | None:
    """The column that a data set is ranked by: the suite's own, else the first of `PRIMARY` there is.

    Of the best weights, else of the averaged, else of the last.
    """
    records = list(records)
    wanted = [name.replace(".", "_") for r in records[:1] if (name := str(r.run.spec.get("primary") or ""))]
    found = {c for r in records if r.status == "ok" for c, e in r.estimates().items() if e.get("value") is not None}
    names = sorted({_stem(column) for column in found})
    for name in dict.fromkeys(n for n in (*wanted, *PRIMARY, *names) if n in names):
        return next(name + suffix for suffix in ("_best", "_ema", "") if name + suffix in found)
    return None


def leaderboard(records: Sequence[Record]) -> pd.DataFrame:
    """One line per suite, objective and data set: its primary metric over the seeds, and its shared rank.

    Ranked are entries that have a certified value at every planned seed, compared at the seeds that most of them
    have; controls never are. Classical denoisers are no entries: they stand in the table of denoised images.
    """
    lines = []
    groups: dict[tuple[str, str, str, str], dict[str, Cell]] = {}
    for (suite, track, device, objective, dataset), cell in cells(records).items():
        if cell.records[0].run.classical:
            continue
        groups.setdefault((suite, track, device, dataset), {})[objective] = cell
    for (suite, track, device, dataset), entries in groups.items():
        column = primary(record for cell in entries.values() for record in cell.records) or ""
        sample = [e for cell in entries.values() for r in cell.succeeded if (e := r.estimate(column))]
        better: Better = sample[0].get("better", "lower") if sample else "lower"
        controls = {name for name, cell in entries.items() if cell.records[0].run.control}
        rankable = {
            name: cell
            for name, cell in entries.items()
            if name not in controls and not cell.uncertified(column) and None not in cell.seeds(column)
        }
        ranks = shared_ranks(_aligned(rankable, column), better)
        for objective, cell in entries.items():
            interval = t_interval(cell.numbers(column))
            lines.append(
                {
                    "suite": suite,
                    "track": track,
                    "device": device,
                    "objective": objective,
                    "control": objective in controls,
                    "dataset": dataset,
                    "metric": column,
                    "unit": sample[0].get("unit", "") if sample else "",
                    "better": better,
                    "basis": bases((record for each in entries.values() for record in each.records), column),
                    "planned": len(cell.records),
                    "skipped": sum(record.status == "skipped" for record in cell.records),
                    "ok": len(cell.succeeded),
                    "n": interval.n,
                    "mean": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    "uncertified": cell.uncertified(column),
                    "rank": ranks.get(objective),
                    "train_seconds": cell.median("train_seconds"),
                    "peak_memory_mb": cell.median("peak_memory_mb"),
                    "gflops": None if (flops := cell.median("flops_train")) is None else flops / 1e9,
                    "entropy": next((e for r in cell.succeeded if (e := r.get("model.entropy")) is not None), None),
                    "shown": shown(cell, column, ranks.get(objective)),
                }
            )
    return pd.DataFrame(lines)


def write(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as its suffix says: .csv, .md, .tex (booktabs) or .parquet. In print, absence is a word.

    Raises:
        UsageError: if the suffix is none of these, or the place cannot be written to, or Parquet lacks its library.
    """
    try:
        if path.suffix == ".parquet":
            table.to_parquet(path, index=False)
        elif path.suffix in (".csv", ".md", ".tex"):
            path.write_text(text(table, path.suffix))
        else:
            raise UsageError(f"a table is written as .csv, .md, .tex or .parquet; got '{path.name}'")
    except OSError as error:
        raise UsageError(
            f"a table needs a place to write to; '{path}': {error.strerror or error}: give another"
        ) from None
    except ImportError:
        raise UsageError(f"Parquet needs pyarrow, which is not installed; write '{path.stem}.csv' instead") from None


def text(table: pd.DataFrame, suffix: str) -> str:
    """A table as .csv, .md or .tex, as a file of that kind would hold it."""
    if suffix == ".csv":
        return str(table.to_csv(index=False))
    return markdown(worded(table)) + "\n" if suffix == ".md" else str(worded(table).to_latex(index=False, escape=True))


def worded(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text: numbers to four digits, and a word where there is none."""
    words = ["n/a"] * len(table)
    if {"status", "steps"} <= set(table.columns):
        pairs = zip(table["status"], table["steps"], strict=True)
        words = ["n/a" if s == "ok" else f"diverged at {n}" if s == "diverged" and pd.notna(n) else s for s, n in pairs]
    text = {
        name: [
            word if pd.isna(v) else f"{v:.4g}" if isinstance(v, float) else str(v)
            for v, word in zip(c, words, strict=True)
        ]
        for name, c in table.items()
    }
    return pd.DataFrame(text)


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table of text as it stands."""
    return str(table.to_markdown(index=False, disable_numparse=True))


def _stem(column: str) -> str:
    """The metric that a column shows a variant of."""
    return column.removesuffix("_ema").removesuffix("_best")


def _basis(estimate: dict[str, Any]) -> dict[str, Any]:
    return {"extractor": estimate["detail"]["extractor"], "n": estimate["n"]}


def _aligned(entries: dict[str, Cell], column: str) -> dict[str, list[float | None]]:
    """Each entry's values at the seeds that most entries have, so that one with seeds of its own moves nobody."""
    by_seed = {
        name: {r.run.seed: v for r, v in zip(cell.records, cell.seeds(column), strict=True)}
        for name, cell in entries.items()
    }
    commonest = Counter(tuple(sorted(values)) for values in by_seed.values()).most_common(1)
    return {name: [values.get(seed) for seeds, _ in commonest for seed in seeds] for name, values in by_seed.items()}


def shown(cell: Cell, column: str, rank: int | None = None) -> str:
    """A leaderboard's cell: mean ± half-width, "?" if uncertified, the rank or how many runs gave a number."""
    interval = t_interval(cell.numbers(column))
    if interval.mean is None:
        return cell.word(column)
    half = interval.half_width
    text = f"{interval.mean:.3g} ({interval.word})" if half is None else _plus_minus(interval.mean, half)
    text += "?" if cell.uncertified(column) else ""
    if interval.n < len(cell.records):
        return f"{text}, {interval.n} of {len(cell.records)}"
    return text if rank is None else f"{text} (#{rank})"


def _plus_minus(mean: float, half: float) -> str:
    if max(abs(mean), half) >= 1e4:
        return f"{mean:.2g} ± {half:.1g}"
    digits = next((d for d in range(4) if half >= 10 ** (1 - d)), 4)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"
