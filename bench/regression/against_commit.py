"""The working tree against another commit, in one job: quality paired by seed, then time in turns."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bench.common import paths
from bench.common.errors import UsageError
from bench.regression import suite, timing
from bench.regression.baseline import cell_name
from bench.regression.checks import Check
from bench.regression.quality import Pairs, paired_quality
from bench.regression.timing import Subject
from bench.results.records import Record, read_records
from bench.results.store import Store


def compare_commits(ref: str, *, objectives: Sequence[str] | None, jobs: int | None) -> list[Check]:
    """Every check against a commit: presence, paired quality, time.

    Raises:
        UsageError: if there is no such commit or objective, or its version cannot run the gate's suite.
    """
    command = f"python -m bench regression --against {ref}"
    names = list(dict.fromkeys(run.objective.name for run in suite.planned(objectives)))
    with timing.checked_out(ref) as tree, tempfile.TemporaryDirectory() as folder:
        there = {path.stem for path in (tree / "objectives").glob("*.py")}
        checks = _presence(there, names, command) if objectives is None else []
        common = [name for name in names if name in there]
        if not common:
            raise UsageError(f"'{ref}' has none of the objectives that are to be compared: {', '.join(names)}")
        seen = PairedStores({"before": tree, "after": paths.ROOT}, common, Path(folder), jobs)
        margins = suite.settings()["margins"]
        checks += paired_quality(seen.measure, margins, lambda cell: _again(command, cell))
        timings = timing.compare_times(tree, paths.ROOT, suite.FILE, [Subject(name) for name in common])
        return [*checks, *timing.time_checks(timings, command)]


def _presence(there: set[str], here: Sequence[str], command: str) -> list[Check]:
    rule = "the same objectives; a new one has nothing to be compared with"
    gone, new = sorted(there - set(here)), sorted(set(here) - there)
    return [
        *(Check("completeness", name, "presence", "undecided", "there", "gone", rule, command) for name in gone),
        *(Check("completeness", name, "presence", "pass", "not there", "new", rule, command) for name in new),
    ]


def _again(command: str, cell: str) -> str:
    return f"{command} --objective {cell.partition(' on ')[0]}" if cell else command


class PairedStores:
    """Two trees, each with a store that grows by the seeds that are asked for."""

    def __init__(self, trees: Mapping[str, Path], objectives: Sequence[str], folder: Path, jobs: int | None) -> None:
        self.trees, self.objectives, self.folder, self.jobs = trees, objectives, folder, jobs

    def measure(self, cells: Collection[str] | None, seeds: range) -> Mapping[str, Pairs]:
        """{metric: {cell: pairs at all seeds so far}}, after running some cells, or all, at further seeds."""
        names = self.objectives if cells is None else sorted({cell.partition(" on ")[0] for cell in cells})
        for side, tree in self.trees.items():
            suite.run_elsewhere(tree, names, seeds, self.folder / side, self.jobs)
        before, after = (read_records(Store(self.folder / side)) for side in ("before", "after"))
        return {metric: pairs(before, after, metric) for metric in suite.settings()["margins"]}


def pairs(before: Sequence[Record], after: Sequence[Record], metric: str) -> Pairs:
    """(before, after) by cell at each seed that either planned; infinity where there is no value."""
    sides = [
        {
            (cell_name(r), r.spec.seed): math.inf if v is None else v
            for r in records
            for v in [next((e.value for key, e in r.values.items() if key.column == metric), None)]
        }
        for records in (before, after)
    ]
    found: dict[str, list[tuple[float, float]]] = {}
    for cell, seed in sorted(sides[0].keys() | sides[1].keys()):
        found.setdefault(cell, []).append((sides[0].get((cell, seed), math.inf), sides[1].get((cell, seed), math.inf)))
    return found
