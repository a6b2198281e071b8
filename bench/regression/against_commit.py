"""The working tree against another commit, in one job: quality paired by seed, then time in turns."""

from __future__ import annotations

import math
import shlex
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from bench.common import paths
from bench.common.errors import UsageError
from bench.common.references import split_reference
from bench.regression import suite, timing
from bench.regression.baseline import cell_name, reference
from bench.regression.checks import Check
from bench.regression.quality import Pairs, paired_quality
from bench.regression.self_test import of_comparison
from bench.regression.suite import OWN, Gated, Tree
from bench.regression.timing import Subject
from bench.results.leaderboard import primary_key
from bench.results.records import Record, any_value, by_dataset, read_records
from bench.results.store import Store


def compare_commits(ref: str, *, of: Gated, jobs: int | None) -> list[Check]:
    """Every check against a commit, with the self-test: presence, paired quality, time.

    Raises:
        UsageError: if there is no such commit or objective, or its version cannot run the gate's suite.
    """
    command = f"python -m bench regression{replace(of, objectives=None).options} --against {shlex.quote(ref)}"
    with timing.checked_out(ref, of.root) as tree, tempfile.TemporaryDirectory() as folder:
        before, after, names = _own_trees(tree, of) if of.own else _trees(tree, of)
        checks = _presence(set(before.refs), names, command) if of.objectives is None else []
        common = [name for name in names if name in before.refs]
        if not common:
            raise UsageError(f"'{ref}' has none of the objectives that are to be compared: {', '.join(names)}")
        seen = PairedStores({"before": before, "after": after}, common, Path(folder), jobs, of)
        checks += paired_quality(seen.measure, seen.margins, lambda cell: _again(command, cell, after))
        timings = timing.compare_times(before, after, of.file, [Subject(name) for name in common])
        checks += timing.time_checks(timings, lambda name: _again(command, name, after))
        return [*checks, *of_comparison(Path(folder) / "self-test", jobs=jobs, of=of, margins=seen.margins)]


def _own_trees(tree: Path, of: Gated) -> tuple[Tree, Tree, list[str]]:
    """This project in two versions, each run by its own program, and the objectives of the later one."""
    names = list(dict.fromkeys(run.objective.name for run in suite.planned(of.objectives)))
    there = {path.stem: path.stem for path in (tree / "objectives").glob("*.py")}
    return Tree(tree, there), Tree(paths.ROOT), names


def _trees(tree: Path, of: Gated) -> tuple[Tree, Tree, list[str]]:
    """Somebody's repository in two versions, both run by this program, and the objectives of the later one."""
    refs = {run.entry: reference(run.objective) for run in suite.planned(of=of)}
    before = {}
    for name, ref in refs.items():
        file = split_reference(ref)[0]
        if not file.endswith(".py"):
            before[name] = ref
        elif (path := tree / _within(Path(file), of)).is_file():
            before[name] = f"{path}{ref[len(file) :]}"
    return Tree(tree / _within(of.folder, of), before, paths.ROOT), Tree(of.folder, refs, paths.ROOT), list(refs)


def _within(path: Path, of: Gated) -> Path:
    """A path within the repository that is gated.

    Raises:
        UsageError: if it lies elsewhere, where no commit has another version of it.
    """
    try:
        return path.resolve().relative_to(of.root.resolve())
    except ValueError:
        raise UsageError(
            f"--against compares files of one repository; '{path}' lies outside '{of.root}': move it there"
        ) from None


def _presence(there: set[str], here: Sequence[str], command: str) -> list[Check]:
    rule = "the same objectives; a new one has nothing to be compared with"
    gone, new = sorted(there - set(here)), sorted(set(here) - there)
    return [
        *(Check("completeness", name, "presence", "undecided", "there", "gone", rule, command) for name in gone),
        *(Check("completeness", name, "presence", "pass", "not there", "new", rule, command) for name in new),
    ]


def _again(command: str, cell: str, tree: Tree) -> str:
    return f"{command} --objective {shlex.quote(tree.ref(cell.partition(' on ')[0]))}" if cell else command


class PairedStores:
    """Two trees, each with a store that grows by the seeds that are asked for."""

    def __init__(
        self, trees: Mapping[str, Tree], objectives: Sequence[str], folder: Path, jobs: int | None, of: Gated = OWN
    ) -> None:
        self.trees, self.objectives, self.folder, self.jobs, self.of = trees, objectives, folder, jobs, of

    @cached_property
    def margins(self) -> Mapping[str, float]:
        """How much worse a metric may be: for the project's own suite as it says, else of what the suite ranks by.

        Raises:
            UsageError: if the suite ranks by nothing that is better when lower.
        """
        margins: dict[str, float] = suite.settings()["margins"]
        if self.of.own:
            return margins
        # one seed shows which metrics there are; its runs are no others than those that follow
        suite.run_elsewhere(self.trees["after"], self.objectives, range(1), self.folder / "after", self.jobs, self.of)
        found = by_dataset(read_records(Store(self.folder / "after")))
        keys = [(primary_key(records), records) for records in found.values()]
        lower = [key.column for key, records in keys if key and any_value(records, key).better == "lower"]
        if not lower:
            raise UsageError(
                f"a ratio of two versions needs a metric that is better when lower; '{self.of.suite}' ranks by none: "
                "name one as its `primary`"
            )
        return dict.fromkeys(lower, max(margins.values()))

    def measure(self, cells: Collection[str] | None, seeds: range) -> Mapping[str, Pairs]:
        """{metric: {cell: pairs at all seeds so far}}, after running some cells, or all, at further seeds."""
        names = self.objectives if cells is None else sorted({cell.partition(" on ")[0] for cell in cells})
        for side, tree in self.trees.items():
            suite.run_elsewhere(tree, names, seeds, self.folder / side, self.jobs, self.of)
        before, after = (read_records(Store(self.folder / side)) for side in ("before", "after"))
        return {metric: pairs(before, after, metric) for metric in self.margins}


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
