"""Two versions in one job: a worktree of the other one beside this, and the steps of both timed in turns.

Blocks of before, after, after, before (ABBA), so that a drift of the machine cancels; the CPU time of the process, so
that neighbours on the machine hardly matter. A cell is dearer if the lower 99 % bound of its median ratio lies above
×1.05, and the excess recurs in a second pair of processes; it passes if the upper bound lies below ×1.075. While
neither is so, further pairs are timed, up to a cap.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.common.errors import UsageError
from bench.common.git import run_git
from bench.common.paths import ROOT
from bench.common.statistics import median_interval
from bench.regression.checks import Check, Outcome
from bench.regression.suite import Tree

BLOCKS = 15
PAIRS = 4  # of processes, at most
LIMIT = 1.05
LEVEL = 0.98  # two-sided: each bound holds with probability .99
HARMLESS = 1.075  # shown to be below this: a process has a pace of its own, of a percent or two, and ×1.1 must be seen
GRAIN = 10  # steps of a turn are a multiple, so that an injected tenth is a whole number of steps


@contextmanager
def checked_out(ref: str, root: Path = ROOT) -> Iterator[Path]:
    """A worktree of a commit of a repository, gone afterwards.

    Raises:
        UsageError: if git knows no such commit.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "before"
        made = run_git("worktree", "add", "--detach", str(tree), ref, folder=root)
        if made.returncode:
            raise UsageError(f"--against needs a commit that git knows; got '{ref}': {made.stderr.strip()}")
        try:
            yield tree
        finally:
            run_git("worktree", "remove", "--force", str(tree), folder=root)


def _script(tree: Path) -> Path:
    """A version's own worker: its protocol is older than its place."""
    places = [tree / "bench" / place for place in ("regression/timing_worker.py", "time_worker.py")]
    return next((path for path in places if path.is_file()), places[0])


class UntimedError(RuntimeError):
    """A version cannot run a step."""


class Worker:
    """A process that times the steps of one tree."""

    def __init__(self, tree: Tree, suite: Path) -> None:
        self.tree, self.suite = tree, suite
        code = tree.code or tree.folder
        self.process = subprocess.Popen(
            [sys.executable, str(_script(code)), str(code)],
            cwd=tree.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def prepare(self, objective: str) -> int:
        return int(self._ask({"prepare": self.tree.ref(objective), "suite": str(self.suite)})["steps"])

    def seconds(self, objective: str, steps: int) -> float:
        return float(self._ask({"time": self.tree.ref(objective), "steps": steps})["seconds"])

    def close(self) -> None:
        self.process.communicate()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        found: dict[str, Any] = json.loads(answer) if answer else {"error": "the process ended: see above"}
        if "error" in found:
            raise UntimedError(f"the version in '{self.tree.folder}' cannot answer {request}: {found['error']}")
        return found


@dataclass(frozen=True)
class Subject:
    """An objective whose step is timed; `injected` lets the later version take that many times the steps."""

    objective: str
    injected: float = 1.0


@dataclass
class Timing:
    """after / before of every block, by pair of processes."""

    rounds: list[list[float]] = field(default_factory=list)

    @property
    def blocks(self) -> list[float]:
        """Those of all pairs."""
        return [ratio for found in self.rounds for ratio in found]

    @property
    def outcome(self) -> Outcome:
        """By all blocks together; a regression must show in at least two pairs, or it is not decided."""
        high = median_interval(self.blocks, LEVEL).high
        if is_slower(self.blocks):
            recurs = sum(median(found) > LIMIT for found in self.rounds if found) > 1
            return "regression" if recurs else "undecided"
        return "pass" if high is not None and high < HARMLESS else "undecided"

    def __str__(self) -> str:
        found = median_interval(self.blocks, LEVEL)
        if found.mean is None:
            return "not timed: a version cannot run its step"
        text = f"×{found.mean:.3f} ({found.low or math.nan:.3f} to {found.high or math.nan:.3f})"
        text += f" in {len(self.rounds)} pairs of processes" * (len(self.rounds) > 1)
        blind = f"; ×{minimum_detectable_ratio(self.blocks):.3g} is the least that could be seen"
        return text + blind * (self.outcome == "undecided")


def ratios(before: Callable[[], float], after: Callable[[], float], blocks: int = BLOCKS) -> list[float]:
    """after / before of each ABBA block."""
    found = []
    for _ in range(blocks):
        first, second, third, fourth = before(), after(), after(), before()
        found.append((second + third) / (first + fourth))
    return found


def is_slower(measured: Sequence[float]) -> bool:
    """Whether the lower 99 % bound of the median ratio lies above the limit."""
    low = median_interval(measured, LEVEL).low
    return low is not None and low > LIMIT


def minimum_detectable_ratio(measured: Sequence[float]) -> float:
    """The smallest ratio that `dearer` would have seen through this noise; infinite without an interval."""
    found = median_interval(measured, LEVEL)
    return math.inf if found.low is None or found.mean is None else LIMIT * found.mean / found.low


def compare_times(
    before: Tree, after: Tree, suite: Path, subjects: Sequence[Subject], blocks: int = BLOCKS
) -> dict[Subject, Timing]:
    """The time of every subject's step in two trees; what is undecided is timed again in fresh processes."""
    found = {subject: Timing() for subject in subjects}
    for _ in range(PAIRS):
        for subject, measured in _time_round(before, after, suite, subjects, blocks).items():
            found[subject].rounds.append(measured)
        subjects = [subject for subject in subjects if found[subject].outcome == "undecided"]
        if not subjects:
            break
    return found


def time_checks(timings: Mapping[Subject, Timing], command: Callable[[str], str]) -> list[Check]:
    """One check a subject; `command` measures the one of a name again."""
    return [
        Check(
            "time",
            subject.objective,
            "CPU seconds a step",
            timing.outcome,
            "×1",
            str(timing),
            f"upper 99 % bound below ×{HARMLESS}",
            command(subject.objective),
        )
        for subject, timing in timings.items()
    ]


def _time_round(
    before: Tree, after: Tree, suite: Path, subjects: Sequence[Subject], blocks: int
) -> dict[Subject, list[float]]:
    workers = Worker(before, suite), Worker(after, suite)
    try:
        found = {}
        for subject in subjects:
            name = subject.objective
            try:
                steps = GRAIN * math.ceil(max(worker.prepare(name) for worker in workers) / GRAIN)
                first = partial(workers[0].seconds, name, steps)
                second = partial(workers[1].seconds, name, round(steps * subject.injected))
                found[subject] = ratios(first, second, blocks)
            except UntimedError as error:
                print(error, file=sys.stderr)
                found[subject] = []
        return found
    finally:
        for worker in workers:
            worker.close()
