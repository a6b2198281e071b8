"""The regression gate's hard parts: is everything there, is it dearer, is it worse than the accepted baseline?

Completeness, counted work and pinned quality need no statistics: work is counted, and a run at a fixed seed gives the
same number on the same machine. On another machine only rounding differs, which the spread over seeds dwarfs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.common.exit_codes import GOOD, REGRESSION, UNDECIDED
from bench.common.machine_faults import MACHINE_ERROR
from bench.regression.baseline import Baseline, Measured

Outcome = Literal["pass", "better", "regression", "undecided"]
WORK_TOLERANCE = 1e-3
SAME_MACHINE = 1e-6
SPREADS = 3.0  # standard deviations over seeds that another machine's rounding stays within


@dataclass(frozen=True)
class Check:
    """One thing that was compared.

    Attributes:
        part: "completeness", "work", "quality", "paired quality", "time", "benchmark" or "self-test".
        before, after: values, or words; `allowed` is the interval or the limit in words.
        command: what measures it again.
    """

    part: str
    cell: str
    metric: str
    outcome: Outcome
    before: str
    after: str
    allowed: str
    command: str = ""


def compare(baseline: Baseline, head: Baseline) -> list[Check]:
    """Every check of the hard parts, in order; a cell that is not in both is undecided, never passed over."""
    return [*completeness(baseline, head), *work(baseline, head), *quality(baseline, head)]


def exit_code(checks: Sequence[Check]) -> int:
    """1 if anything is worse; else 4 if anything was not measured, not decided, or has become better; else 0.

    What has become better must be accepted, or it could be lost again unseen; and a short run that scores better may be
    a detuned one that will end worse. A gate that failed its self-test cannot see, and is neither green nor red: 4.
    """
    if broken(checks):
        return UNDECIDED
    outcomes = {check.outcome for check in checks}
    if "regression" in outcomes:
        return REGRESSION
    return UNDECIDED if outcomes & {"undecided", "better"} or not checks else GOOD


def broken(checks: Sequence[Check]) -> bool:
    """Whether the self-test let through what was injected, or objected to what was equal."""
    return any(check.part == "self-test" and check.outcome != "pass" for check in checks)


def completeness(baseline: Baseline, head: Baseline) -> list[Check]:
    """The same cells and seeds as in the baseline, and none that fails which did not."""
    checks = []
    for name in sorted(baseline.cells.keys() | head.cells.keys()):
        before, after = baseline.cells.get(name), head.cells.get(name)
        if before is None or after is None:
            present = ("not in the baseline", "measured") if before is None else ("in the baseline", "not measured")
            rule = "the same cells; a rename, an addition or a removal is accepted by `update-baseline`"
            command = after.command if after else "python -m bench regression"
            checks.append(Check("completeness", name, "presence", "undecided", *present, rule, command))
            continue
        for seed in sorted(before.status.keys() | after.status.keys(), key=int):
            old, new = before.status.get(seed, "not planned"), after.status.get(seed, "not measured")
            outcome: Outcome = "pass"
            if new in ("not measured", "missing", "interrupted", MACHINE_ERROR) or old == "not planned":
                outcome = "undecided"
            elif new != old:
                outcome = "better" if new == "ok" else "regression"
            checks.append(
                Check("completeness", name, f"status at seed {seed}", outcome, old, new, "as before", after.command)
            )
    return checks


def work(baseline: Baseline, head: Baseline) -> list[Check]:
    """Counts of one step, within a thousandth; less is better."""
    checks = []
    for name, before, after in _common(baseline, head):
        for count in sorted(before.work.keys() | after.work.keys()):
            old, new = before.work.get(count), after.work.get(count)
            outcome: Outcome = "pass"
            if old is None or new is None:
                outcome = "undecided"
            elif not abs(new - old) <= WORK_TOLERANCE * abs(old):
                outcome = "regression" if new > old else "better"
            low, high = (None, None) if old is None else (old * (1 - WORK_TOLERANCE), old * (1 + WORK_TOLERANCE))
            checks.append(
                Check("work", name, count, outcome, _number(old), _number(new), _range(low, high), after.command)
            )
    return checks


def quality(baseline: Baseline, head: Baseline) -> list[Check]:
    """The mean over pinned seeds: to 1e-6 in the same environment, else within the seeds' own spread."""
    same = baseline.env_id == head.env_id
    checks = []
    for name, before, after in _common(baseline, head):
        for metric in sorted(before.quality.keys() | after.quality.keys()):
            old, new = _values(before, metric), _values(after, metric)
            if not old or set(old) != set(new):
                if set(old) or set(new):
                    words = (f"values at {len(old)} seeds", f"values at {len(new)} seeds")
                    lost: Outcome = "regression" if set(old) - set(new) else "undecided"
                    checks.append(Check("quality", name, metric, lost, *words, "the same seeds", after.command))
                continue
            was, now = (math.fsum(v.values()) / len(v) for v in (old, new))
            tolerance = SAME_MACHINE * max(abs(v) for v in old.values())
            largest = max(abs(new[seed] - old[seed]) for seed in old)
            if not same:
                tolerance = max(tolerance, SPREADS * _deviation(list(old.values())))
            outcome: Outcome = "pass"
            if not largest <= tolerance:
                worse = (now > was) == (before.better.get(metric, "lower") == "lower")
                outcome = "regression" if worse else "better"
            where = "this environment" if same else "another environment"
            allowed = f"each seed within {tolerance:.2g} ({where})"
            checks.append(Check("quality", name, metric, outcome, f"{was:.7g}", f"{now:.7g}", allowed, after.command))
    return checks


def _common(baseline: Baseline, head: Baseline) -> list[tuple[str, Measured, Measured]]:
    both = sorted(baseline.cells.keys() & head.cells.keys())
    return [(name, baseline.cells[name], head.cells[name]) for name in both]


def _values(cell: Measured, metric: str) -> dict[str, float]:
    return {seed: v for seed, v in cell.quality.get(metric, {}).items() if v is not None}


def _deviation(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def _number(value: float | None) -> str:
    return "not counted" if value is None else f"{value:.10g}"


def _range(low: float | None, high: float | None) -> str:
    return "counted in both" if low is None or high is None else f"{low:.6g} to {high:.6g}"
