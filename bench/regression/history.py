"""What every gated commit measured, a line each, and hints at where something changed for good.

A hint is no verdict. Counted work and the quality of pinned seeds carry no noise, so there a hint is any change beyond
the gate's own tolerance. Times do, so there Pettitt's rank test must find a step: among n exchangeable values
K = max_t |2 Σ_{i≤t} rank_i - t(n + 1)| has p ≈ 2 exp(-6K²/(n³ + n²)) (Pettitt 1979), Bonferroni-corrected over the
times of one class of machine; and the medians of both sides must differ by a twentieth. The sides are then searched
alike.

The file is not in git: its numbers belong to machines, and any two branches would conflict in it. CI keeps it between
jobs, and with each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from bench.common.errors import UsageError
from bench.common.git import CODE, current_commit, has_changes
from bench.common.paths import ROOT
from bench.regression.baseline import Baseline, Measured
from bench.regression.changepoints import ALPHA, exact_steps, noisy_steps
from bench.regression.checks import SAME_MACHINE, WORK_TOLERANCE, Check, broken, exit_code
from bench.results import tables

KIND, SCHEMA = "ebm-bench history", 1
TIME = "cpu_ms_per_step"


@dataclass(frozen=True)
class Point:
    """One value of one commit."""

    commit: str
    date: str
    value: float


@dataclass(frozen=True)
class Hint:
    """A step of a series: the first point after it, and the medians of both sides."""

    host: str
    metric: str
    cell: str
    at: Point
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """after / before; infinite where there was nothing before."""
        return self.after / self.before if self.before else math.inf


Series = dict[tuple[str, str, str], list[Point]]
"""(host, metric, cell) -> its values in the order in which the commits were gated."""


def append_history(
    path: Path, head: Baseline, checks: Sequence[Check], folder: Path = ROOT, code: Sequence[str] = CODE
) -> str:
    """Adds the commit's line, if it is a commit and the gate could see; says what it did.

    Args:
        folder: in the repository whose commit it is.
        code: git's paths of what must be as in the commit.

    Raises:
        UsageError: if the place cannot be written to.
    """
    sha = current_commit(folder)
    if sha is None or has_changes(*code, folder=folder):
        return "not a commit as it stands, so the history gets no line"
    if broken(checks):
        return "the gate is broken, so the history gets no line"
    line = {
        "kind": KIND,
        "schema": SCHEMA,
        "commit": sha,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": head.host,
        "env_id": head.env_id,
        "suite": head.suite,
        "exit_code": exit_code(checks),
        "cells": {name: _values(cell) for name, cell in sorted(head.cells.items())},
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:  # one write: a kill tears at most the last line
            file.write(json.dumps(line, sort_keys=True, allow_nan=False).encode() + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write history '{path}': {error.strerror}; give another file") from None
    return f"appended to {path}"


def _values(cell: Measured) -> dict[str, float]:
    means = {}
    for metric, seeds in cell.quality.items():
        found = [v for v in seeds.values() if v is not None]
        if len(found) == len(seeds):  # a mean over the seeds that are left would move when one fails
            means[metric] = math.fsum(found) / len(found)
    return {**cell.work, **means, **({} if cell.cpu_ms is None else {TIME: cell.cpu_ms})}


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines in their order; of a suite that one class of machine gated several times at a commit, the last.

    Raises:
        UsageError: if there is no such file, or it holds something else or a newer program's lines.
    """
    try:
        lines = [json.loads(line) for line in path.read_bytes().rpartition(b"\n")[0].splitlines()]
    except OSError as error:
        raise UsageError(
            f"cannot read history '{path}': {error.strerror}; `python -m bench regression` creates it"
        ) from None
    except ValueError as error:
        raise UsageError(f"'{path}' is not a history ({error}); delete the line or give another file") from None
    for line in lines:
        if not isinstance(line, Mapping) or line.get("kind") != KIND or line.get("schema") != SCHEMA:
            raise UsageError(
                f"'{path}' contains a line that is not history schema {SCHEMA}; delete it or give another file"
            )
    latest = {(line["commit"], line["host"], line["suite"]): line for line in lines}
    return [line for line in lines if latest[line["commit"], line["host"], line["suite"]] is line]


def series(lines: Sequence[Mapping[str, Any]]) -> Series:
    """Every metric of every cell on every class of machine; a cell has its suite before it where there are several."""
    found: Series = {}
    several = len({line["suite"] for line in lines}) > 1
    for line in lines:
        for name, values in line["cells"].items():
            cell = f"{line['suite']}: {name}" if several else name
            for metric, value in values.items():
                point = Point(str(line["commit"]), str(line["date"]), float(value))
                found.setdefault((str(line["host"]), metric, cell), []).append(point)
    return found


def hints(found: Series) -> list[Hint]:
    """The steps of all series."""
    times = [key for key in found if key[1] == TIME]
    hinted = []
    for key, points in found.items():
        values = [point.value for point in points]
        if key[1] == TIME:
            several = sum(other[0] == key[0] for other in times)
            steps = noisy_steps(values, ALPHA / several)
        else:
            steps = exact_steps(values, WORK_TOLERANCE if "per_step" in key[1] else SAME_MACHINE)
        edges = [0, *steps, len(values)]
        for low, at, high in zip(edges, edges[1:], edges[2:], strict=False):
            hinted.append(Hint(*key, points[at], median(values[low:at]), median(values[at:high])))
    return hinted


def history_markdown(found: Series, hinted: Sequence[Hint]) -> str:
    """By class of machine: what there is of each metric, and the hints, the largest first."""
    if not found:
        return "The history is empty; `python -m bench regression` adds a line for every commit."
    hosts = dict.fromkeys(host for host, _, _ in found)
    return "\n\n".join(f"## {host}\n\n{_of_host(found, hinted, host)}" for host in hosts)


def _of_host(found: Series, hinted: Sequence[Hint], host: str) -> str:
    groups: dict[str, list[list[Point]]] = {}
    for (where, metric, _), points in found.items():
        if where == host:
            groups.setdefault(metric, []).append(points)
    own = [hint for hint in hinted if hint.host == host]
    lines = [
        {
            "metric": metric,
            "cells": str(len(group)),
            "commits": str(len({point.commit for points in group for point in points})),
            "last / first, median": _ratio([(points[0].value, points[-1].value) for points in group]),
            "changepoints": str(sum(hint.metric == metric for hint in own)),
        }
        for metric, group in groups.items()
    ]
    steps = [
        {
            "metric": hint.metric,
            "cell": hint.cell,
            "before": f"{hint.before:.6g}",
            "after": f"{hint.after:.6g}",
            "ratio": f"×{hint.ratio:.4g}",
            "from commit": hint.at.commit[:10],
            "gated": hint.at.date[:10],
        }
        for hint in sorted(own, key=lambda hint: -abs(math.log(hint.ratio)) if hint.ratio > 0 else -math.inf)
    ]
    said = (
        f"Detected changepoints (they do not affect the exit code):\n\n{tables.markdown_table(pd.DataFrame(steps))}"
        if steps
        else "No changepoints detected."
    )
    return f"{tables.markdown_table(pd.DataFrame(lines))}\n\n{said}"


def _ratio(ends: Sequence[tuple[float, float]]) -> str:
    ratios = [last / first for first, last in ends if first]
    return f"×{median(ratios):.4g}" if ratios else "all zero"
