"""Quality of two versions, paired by seed: "not worse" is shown, not assumed.

The ratio of a metric over common seeds must lie below its margin, by a one-sided interval, Holm-corrected over cells.
Where neither that nor the opposite is shown, more seeds are run, up to a cap; each look at the data has its own share
of the error, so that looking several times does not raise it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise

from bench.common.statistics import ROUNDING, holm
from bench.regression.checks import Check, Outcome

Pairs = Mapping[str, Sequence[tuple[float, float]]]
"""{cell: (before, after) at each seed}; infinity where there is no value."""
Measure = Callable[[Collection[str] | None, range], Mapping[str, Pairs]]
"""(cells, None for all; further seeds) -> {metric: pairs at all seeds so far}."""
SEEDS = (3, 6, 12)  # after each of these many, what is undecided goes on
ALPHA = 0.05 / len(SEEDS)


def paired_quality(measure: Measure, margins: Mapping[str, float], commands: Callable[[str], str]) -> list[Check]:
    """One check a metric and cell, after as many seeds as it takes, at most the last of `SEEDS`."""
    checks: dict[tuple[str, str], Check] = {}
    undecided: set[str] | None = None
    for low, high in pairwise((0, *SEEDS)):
        measured = measure(undecided, range(low, high))
        for metric, margin in margins.items():
            # over all cells, decided ones too: Holm's correction is for all that are looked at
            for cell, (outcome, seen) in judge(measured.get(metric, {}), margin).items():
                if (metric, cell) not in checks or checks[metric, cell].outcome == "undecided":
                    allowed = f"shown to be below ×{margin}"
                    checks[metric, cell] = Check(
                        "paired quality", cell, metric, outcome, "×1", seen, allowed, commands(cell)
                    )
        undecided = {cell for (_, cell), check in checks.items() if check.outcome == "undecided"}
        if not undecided:
            break
    absent = sorted(m for m in margins if not any(metric == m for metric, _ in checks))
    none = [
        Check("paired quality", "all", m, "undecided", "no value", "no value", "a value", commands("")) for m in absent
    ]
    return [*none, *(checks[key] for key in sorted(checks))]


def judge(pairs: Pairs, margin: float) -> dict[str, tuple[Outcome, str]]:
    """{cell: (outcome, what was seen)} for a metric that is positive and better when lower.

    "regression": a value is lost, or the ratio is shown to be above 1 and its mean is above the margin. "pass": it is
    shown to be below the margin, or every pair is equal but for rounding, or there is no value before, at seeds where
    other cells have one. Else "undecided", with the smallest ratio that these seeds could have shown.
    """
    anything = any(math.isfinite(v) for values in pairs.values() for pair in values for v in pair)
    found: dict[str, tuple[Outcome, str]] = {}
    logs: dict[str, list[float]] = {}
    for cell, values in pairs.items():
        both = [(before, after) for before, after in values if math.isfinite(before) and math.isfinite(after)]
        lost = sum(math.isfinite(before) and not math.isfinite(after) for before, after in values)
        if lost:
            found[cell] = "regression", f"no value at {lost} of {len(values)} seeds"
        elif not both:
            gained = sum(math.isfinite(after) for _, after in values)
            words = f"no value before at {len(values)} seeds, a value at {gained} of them now"
            found[cell] = "pass" if values and anything else "undecided", words
        elif min(min(pair) for pair in both) <= 0:
            found[cell] = "undecided", f"a ratio needs positive values; got {min(min(pair) for pair in both):.3g}"
        elif all(math.isclose(before, after, rel_tol=ROUNDING) for before, after in both):
            found[cell] = "pass", f"equal at {len(both)} seeds, but for rounding"
        else:
            logs[cell] = [math.log(after / before) for before, after in both]
    return found | _tested(logs, margin)


def _tested(logs: Mapping[str, Sequence[float]], margin: float) -> dict[str, tuple[Outcome, str]]:
    seen = {cell: (*_mean_and_error(values), len(values)) for cell, values in logs.items()}
    not_worse = holm({cell: _one_sided(math.log(margin) - mean, error, n) for cell, (mean, error, n) in seen.items()})
    worse = holm({cell: _one_sided(mean, error, n) for cell, (mean, error, n) in seen.items()})
    found: dict[str, tuple[Outcome, str]] = {}
    for cell, (mean, error, n) in seen.items():
        reach = _quantile(n) * error
        text = f"×{math.exp(mean):.3g} ({math.exp(mean - reach):.3g} to {math.exp(mean + reach):.3g}) at {n} seeds"
        if not_worse[cell] <= ALPHA:
            found[cell] = "pass", text
        elif worse[cell] <= ALPHA and mean > math.log(margin):
            found[cell] = "regression", text
        else:
            found[cell] = "undecided", f"{text}; ×{math.exp(reach):.3g} is the least that could be seen"
    return found


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, math.inf
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)


def _one_sided(excess: float, error: float, n: int) -> float:
    """P(T > excess/error) for Student's T with n - 1 degrees of freedom: small when the excess is shown.

    1 where there is no test: one seed, or log ratios that are equal but for rounding.
    """
    if n < 2 or math.isinf(error) or error <= ROUNDING:
        return 1.0
    from scipy.special import stdtr

    return 1.0 - float(stdtr(n - 1, excess / error))


def _quantile(n: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 1 - ALPHA)) if n > 1 else math.inf
