"""Rows to tables: every planned run once, summaries over seeds, the leaderboard. All of it can be made again."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.common.errors import UsageError
from bench.common.run_spec import RunSpec
from bench.common.statistics import median_bounds, success_rate, t_interval
from bench.results.metric_values import SUFFIXES, MetricKey
from bench.results.records import (
    MEASURED,
    Record,
    group_cells,
    metric_basis,
    read_records,
)
from bench.results.store import Store

_PLANNED = [
    "suite",
    "objective",
    "label",
    "file",
    "sha",
    "params",
    "dataset",
    "network",
    "track",
    "device",
    "seed",
    "status",
    "reason",
]
_FORMULA = tuple("=+-@\t\r")
_NUMBER = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")
COLUMNS = [*_PLANNED, *MEASURED]


def results_frame(store: Store, plan: Iterable[RunSpec] | None = None) -> pd.DataFrame:
    """`records_frame` of a store's planned runs."""
    return records_frame(read_records(store, plan))


def records_frame(records: Sequence[Record]) -> pd.DataFrame:
    """results.csv: one line per planned run, and a column per metric and variant of the weights.

    Beside an image metric stand the extractor and the number of samples that it was taken with.
    """
    # by columns: a dictionary for each of thousands of lines takes many times the room
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    of_metrics: dict[str, list[Any]] = {}
    of_basis: dict[str, list[Any]] = {}
    by_key: dict[MetricKey, list[Any]] = {}

    for k, record in enumerate(records):
        spec = record.spec
        line = {
            "suite": record.spec.suite,
            "objective": spec.objective.name,
            "label": record.objective,
            "file": Path(spec.objective.ref).name if spec.objective.ref.endswith(".py") else "",
            "sha": spec.objective.sha,
            "params": ",".join(f"{k}={v}" for k, v in spec.objective.params.items()),
            "dataset": record.dataset,
            "network": spec.network.name,
            "track": spec.track,
            "device": record.spec.place,
            "seed": record.spec.seed,
            "status": record.status,
            "reason": record.reason,
        }
        for name, value in (line | record.measured()).items():
            columns[name].append(value)
        for key, found in record.values.items():
            if (column := by_key.get(key)) is None:
                column = by_key[key] = of_metrics.setdefault(key.column, [None] * len(records))
            column[k] = found.value
            if found.detail and found.basis:
                for name, value in (("extractor", found.detail["extractor"]), ("n", found.n)):
                    of_basis.setdefault(f"{key.stem}_{name}", [None] * len(records))[k] = value
    planned = {ref.partition("[")[0] for record in records for ref in record.spec.evaluation.metrics}
    # planned ones too: which columns there are must not depend on what failed
    names = {key.stem for record in records for key in record.values}
    # a metric of several values, or of several samplers, has a column for each of them, once there is one
    names |= {name for name in planned if not any(n.startswith(name) for n in names)}
    metrics = [name + suffix for name in sorted(names) for suffix in SUFFIXES.values()]
    beside = sorted(of_basis)
    absent = [None] * len(records)
    table = pd.DataFrame(columns | {name: of_metrics.get(name, absent) for name in metrics} | of_basis)
    table = table[[*COLUMNS, *metrics, *beside]]
    counts = [column for column in beside if column.endswith("_n")]
    whole = {column: "Int64" for column in ("seed", "steps", "n_params", *counts)}
    numbers = {column: "float64" for column in [*MEASURED, *metrics] if column not in whole}
    return table.astype({**whole, **numbers})


def summary_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Per suite, objective and data set: how many runs completed, and each metric's mean, t interval and median.

    A median's best and worst case count the failed runs as better, then as worse, than any number.
    """
    better = {key: found.better for record in records for key, found in record.values.items()}
    lines = []
    for key, cell in group_cells(records).items():
        skipped, ok = sum(record.status == "skipped" for record in cell.records), len(cell.completed)
        planned = len(cell.records) - skipped  # what could not have run has not failed
        rate = success_rate(ok, planned)
        line: dict[str, Any] = dict(zip(("suite", "track", "device", "objective", "dataset"), key, strict=True))
        line |= {"planned": len(cell.records), "skipped": skipped, "ok": ok}
        line |= {"success_rate": rate.mean, "success_low": rate.low, "success_high": rate.high}
        line |= {column: cell.median(column) for column in ("train_seconds", "flops_train", "peak_memory_mb")}
        for metric in sorted(better):
            name, values = metric.column, cell.numbers(metric)
            interval = t_interval(values)
            best, worst = median_bounds(values, planned, better[metric])
            line |= {f"{name}_mean": interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
            line |= {f"{name}_median": float(np.median(values)) if values else None, f"{name}_n": len(values)}
            line |= {f"{name}_median_best_case": best, f"{name}_median_worst_case": worst}
            line[f"{name}_uncertified"] = cell.uncertified(metric)
            if basis := metric_basis(cell.records, metric):
                line[f"{name}_basis"] = basis
        lines.append(line)
    return pd.DataFrame(lines)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as its suffix says: .csv, .csv.xz, .md, .tex (booktabs) or .parquet. In print, absence is a word.

    Raises:
        UsageError: if the suffix is none of these, or the place cannot be written to, or Parquet lacks its library.
    """
    try:
        if path.suffix == ".parquet":
            table.to_parquet(path, index=False)
        elif path.suffixes[-2:] == [".csv", ".xz"]:
            path.write_bytes(lzma.compress(table_text(table, ".csv").encode(), preset=9))
        elif path.suffix in (".csv", ".md", ".tex"):
            path.write_text(table_text(table, path.suffix), encoding="utf-8")
        else:
            raise UsageError(f"a table is written as .csv, .csv.xz, .md, .tex or .parquet; got '{path.name}'")
    except OSError as error:
        raise UsageError(
            f"a table needs a place to write to; '{path}': {error.strerror or error}: give another"
        ) from None
    except ImportError:
        raise UsageError(f"Parquet needs pyarrow, which is not installed; write '{path.stem}.csv' instead") from None


def table_text(table: pd.DataFrame, suffix: str) -> str:
    """A table as .csv, .md or .tex, as a file of that kind would hold it."""
    if suffix == ".csv":
        texts = table.select_dtypes(exclude="number").columns
        return str(table.assign(**{name: table[name].map(_inert) for name in texts}).to_csv(index=False))
    return (
        markdown_table(format_cells(table)) + "\n"
        if suffix == ".md"
        else str(format_cells(table).map(lambda text: " ".join(text.split())).to_latex(index=False, escape=True))
    )


def _inert(value: Any) -> Any:
    """The value; of a text that a spreadsheet would compute, with the apostrophe by which it takes it as text."""
    computed = isinstance(value, str) and value[:1] in _FORMULA and not _NUMBER.fullmatch(value)
    return f"'{value}" if computed else value


def inline_markdown(text: str) -> str:
    """Text on one line of Markdown that ends no cell, and is no HTML, no picture and no link that runs code."""
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", " ".join(text.split()))
    text = re.sub(r"(?<!\\)\|", r"\\|", text.replace("![", "!\\["))
    return re.sub(r"\]\((?=\s*(?:javascript|vbscript|data):)", r"]\\(", text, flags=re.IGNORECASE)


def format_cells(table: pd.DataFrame) -> pd.DataFrame:
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


def markdown_table(table: pd.DataFrame, *, padded: bool = False) -> str:
    """A Markdown table of text; what would end a cell or be HTML is escaped.

    Args:
        padded: whether its columns are aligned for a terminal; of a page, half would be spaces.
    """
    cells = table.map(lambda value: inline_markdown(value) if isinstance(value, str) else value)
    cells = cells.rename(columns=lambda name: inline_markdown(str(name)))
    if padded:
        return str(cells.to_markdown(index=False, disable_numparse=True))
    lines = [list(cells.columns), [":--"] * len(cells.columns), *cells.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
