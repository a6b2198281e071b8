"""Two versions in one job: their steps timed in turns, their quality paired by seed.

Time: blocks of before, after, after, before (ABBA), so that a drift of the machine cancels; the CPU time of the
process, so that neighbours on the machine hardly matter. A cell is dearer if the 99 % bound of its median ratio lies
above the limit in one pair of processes and again in a second.

Quality: the ratio of the metric over common seeds. "Not worse" is shown, not assumed: its one-sided interval must lie
below the margin, Holm-corrected over cells. Where it does not, more seeds are run, up to a cap.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.gate import Check, Outcome
from bench.statistics import holm, median_interval

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = 15
LIMIT = 1.05
LEVEL = 0.98  # two-sided: each bound holds with probability .99
ALPHA = 0.05


@contextmanager
def checked_out(ref: str) -> Iterator[Path]:
    """A worktree of a commit beside this one, gone afterwards.

    Raises:
        UsageError: if git knows no such commit.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "before"
        made = _git("worktree", "add", "--detach", str(tree), ref)
        if made.returncode:
            raise UsageError(f"--against needs a commit that git knows; got '{ref}': {made.stderr.strip()}")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


class Worker:
    """A process that times the steps of one tree."""

    def __init__(self, tree: Path, suite: Path) -> None:
        self.tree, self.suite = tree, suite
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "bench" / "time_worker.py")],
            cwd=tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def prepare(self, objective: str) -> int:
        return int(self._ask({"prepare": objective, "suite": str(self.suite)})["steps"])

    def seconds(self, objective: str, steps: int) -> float:
        return float(self._ask({"time": objective, "steps": steps})["seconds"])

    def close(self) -> None:
        self.process.communicate()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise UsageError(f"the version in '{self.tree}' cannot answer {request}: see the traceback above")
        found: dict[str, Any] = json.loads(answer)
        return found


def ratios(before: Callable[[], float], after: Callable[[], float], blocks: int = BLOCKS) -> list[float]:
    """after / before of each ABBA block."""
    found = []
    for _ in range(blocks):
        first, second, third, fourth = before(), after(), after(), before()
        found.append((second + third) / (first + fourth))
    return found


def dearer(measured: Sequence[float]) -> bool:
    """Whether the lower 99 % bound of the median ratio lies above the limit."""
    low = median_interval(measured, LEVEL).low
    return low is not None and low > LIMIT


def times(before: Path, after: Path, suite: Path, objectives: Sequence[str], blocks: int = BLOCKS) -> list[Check]:
    """The time of every objective's step in two trees; what is dearer once is measured again in fresh processes."""
    first = _time_round(before, after, suite, objectives, blocks)
    again = [name for name, found in first.items() if dearer(found)]
    second = _time_round(before, after, suite, again, blocks) if again else {}
    checks = []
    for name, found in first.items():
        recurs = name in second and dearer(second[name])
        interval = median_interval(found, LEVEL)
        shown = f"×{interval.mean:.3f} ({interval.low or math.nan:.3f} to {interval.high or math.nan:.3f})"
        outcome: Outcome = "regression" if recurs else "pass"
        checks.append(
            Check(
                "time", name, "CPU seconds a step", outcome, "×1", shown, f"99 % bound below ×{LIMIT}", "gate --against"
            )
        )
    return checks


def _time_round(
    before: Path, after: Path, suite: Path, objectives: Sequence[str], blocks: int
) -> dict[str, list[float]]:
    workers = Worker(before, suite), Worker(after, suite)
    try:
        found = {}
        for name in objectives:
            steps = max(worker.prepare(name) for worker in workers)
            first, second = (partial(worker.seconds, name, steps) for worker in workers)
            found[name] = ratios(first, second, blocks)
        return found
    finally:
        for worker in workers:
            worker.close()


def judge(pairs: Mapping[str, Sequence[tuple[float, float]]], margin: float) -> dict[str, tuple[Outcome, str]]:
    """{cell: (outcome, what was seen)} from (before, after) pairs of a metric that is positive and better when lower.

    A value that is lost comes as infinity, and is a regression whatever the others say.

    "pass": the ratio is shown to be below the margin, or every pair is equal. "regression": it is shown to be above 1
    and its mean is above the margin. Else "undecided", with the smallest ratio that these seeds could have shown.
    """
    below: dict[str, float] = {}
    above: dict[str, float] = {}
    seen: dict[str, tuple[float, float, int]] = {}
    found: dict[str, tuple[Outcome, str]] = {}
    for cell, values in pairs.items():
        lost = sum(math.isinf(after) for _, after in values)
        if lost:
            found[cell] = "regression", f"no value at {lost} of {len(values)} seeds"
            continue
        logs = [math.log(after / before) for before, after in values]
        if all(value == 0 for value in logs):
            found[cell] = "pass", f"equal at {len(logs)} seeds"
            continue
        mean, error = _mean_and_error(logs)
        seen[cell] = mean, error, len(logs)
        below[cell] = _one_sided(math.log(margin) - mean, error, len(logs))
        above[cell] = _one_sided(mean, error, len(logs))
    not_worse, worse = holm(below), holm(above)
    for cell, (mean, error, n) in seen.items():
        text = f"×{math.exp(mean):.3g} at {n} seeds"
        if not_worse[cell] <= ALPHA:
            found[cell] = "pass", text
        elif worse[cell] <= ALPHA and mean > math.log(margin):
            found[cell] = "regression", text
        else:
            found[cell] = "undecided", f"{text}; ×{math.exp(_quantile(n) * error):.3g} is the least that could be seen"
    return found


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, math.inf
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)


def _one_sided(excess: float, error: float, n: int) -> float:
    """P(T > excess/error) for Student's T with n - 1 degrees of freedom: small when the excess is shown."""
    if n < 2 or math.isinf(error):
        return 1.0
    if error == 0:
        return 0.0 if excess > 0 else 1.0
    from scipy.special import stdtr

    return 1.0 - float(stdtr(n - 1, excess / error))


def _quantile(n: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 1 - ALPHA)) if n > 1 else math.inf
