"""What a few seeds allow one to say: intervals, paired comparisons, shared ranks, bounds where seeds failed.

A score here depends on its own entry's runs alone, never on the best entry: adding an entry moves nobody's score. A
rank compares entries, so it may move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

Key = TypeVar("Key", bound=Hashable)
Better = Literal["lower", "higher"]
Scale = Literal["ratio", "difference"]
"""How two values are compared: by log a - log b, which needs positive ones, or by a - b."""
BOOTSTRAP_MINIMUM = 10
ROUNDING = 1e-6  # relative; committed rows have seven digits


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that covers the true one at the stated level; without bounds `word` says why."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    word: str = ""

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Comparison:
    """The mean of a - b over common seeds, its interval and the two-sided p-value of no difference.

    Attributes:
        difference: of the values, or of their logarithms where `scale` is "ratio".
        p_value: None where there is no test: one seed, no ratio, or differences without spread.
    """

    difference: Interval
    p_value: float | None
    scale: Scale = "difference"

    @property
    def effect(self) -> Interval:
        """The ratio of the geometric means, a over b, where `scale` is "ratio"; else the difference."""
        return exponential(self.difference) if self.scale == "ratio" else self.difference


def usual_scale(better: Better) -> Scale:
    """Ratios where lower is better; differences where higher is: decibels are logarithms already."""
    return "ratio" if better == "lower" else "difference"


def exponential(interval: Interval) -> Interval:
    """The interval of exp(mean), from that of a mean of logarithms."""
    mean, low, high = (None if v is None else math.exp(v) for v in (interval.mean, interval.low, interval.high))
    return Interval(mean, low, high, interval.n, interval.word)


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """mean ± t_{n-1} s/√n, Student's interval of a mean; exact for normal values, about right for others."""
    n = len(values)
    if n == 0:
        return Interval(None, None, None, 0, "no value")
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if n == 1:
        return Interval(mean, None, None, 1, "one seed")
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, (1 + level) / 2)) * float(array.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired(
    a: Sequence[float | None], b: Sequence[float | None], level: float = 0.95, scale: Scale = "difference"
) -> Comparison:
    """Student's paired test of two entries over the seeds at which both have a value.

    A value that is not positive has no logarithm: there is then "no ratio" at all, since leaving the seed out would
    favour the entry that has it. Differences that are equal but for rounding have "no spread": Student's p-value would
    be 0, which a few seeds of a deterministic difference do not show.

    Raises:
        ValueError: if the two are not aligned.
    """
    if len(a) != len(b):
        raise ValueError(f"paired values are aligned by seed, None where there is none; got {len(a)} and {len(b)}")
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if scale == "ratio" and any(value <= 0 for pair in both for value in pair):
        return Comparison(Interval(None, None, None, 0, "no ratio"), None, scale)
    differences = [math.log(x) - math.log(y) if scale == "ratio" else x - y for x, y in both]
    interval = t_interval(differences, level)
    n, mean = interval.n, interval.mean
    if n < 2 or mean is None:
        return Comparison(interval, None, scale)
    if not any(differences):
        return Comparison(interval, 1.0, scale)
    deviation = float(np.std(differences, ddof=1))
    if deviation <= ROUNDING * (1.0 if scale == "ratio" else max(abs(value) for pair in both for value in pair)):
        return Comparison(Interval(mean, None, None, n, "no spread"), None, scale)
    return Comparison(interval, two_sided_p(mean / (deviation / math.sqrt(n)), n - 1), scale)


def two_sided_p(t: float, freedom: float) -> float:
    """P(|T| > |t|) of Student's T."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(t)))


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable[[np.ndarray], float] = np.mean,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The percentile bootstrap of any statistic.

    Raises:
        ValueError: under ten values, where its "95 %" covers far less (74 % at three).
    """
    if len(values) < BOOTSTRAP_MINIMUM:
        raise ValueError(
            f"a bootstrap needs at least {BOOTSTRAP_MINIMUM} values; got {len(values)}: take t_interval, or more seeds"
        )
    sample = np.asarray(values, dtype=np.float64)
    index = np.random.default_rng(seed).integers(len(sample), size=(draws, len(sample)))
    means = [statistic(sample[i]) for i in index]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(sample)), float(low), float(high), len(sample))


def success_rate(successes: int, planned: int, level: float = 0.95) -> Interval:
    """The share of planned runs that succeeded, with Wilson's interval, which stays inside [0, 1]."""
    if planned == 0:
        return Interval(None, None, None, 0, "nothing planned")
    from scipy.special import ndtri

    z2 = float(ndtri((1 + level) / 2)) ** 2
    rate = successes / planned
    centre = (rate + z2 / (2 * planned)) / (1 + z2 / planned)
    half = math.sqrt(z2 * (rate * (1 - rate) / planned + z2 / (4 * planned**2))) / (1 + z2 / planned)
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half), planned)


def holm(p_values: Mapping[Key, float], family: int = 0) -> dict[Key, float]:
    """p-values adjusted so that rejecting those under α errs anywhere with probability at most α (Holm 1979).

    Args:
        family: how many hypotheses there are, where some could not be tested; these count as not rejected, so that a
            failed run never makes another hypothesis easier to reject.
    """
    family = max(family, len(p_values))
    adjusted: dict[Key, float] = {}
    running = 0.0
    for i, key in enumerate(sorted(p_values, key=lambda k: p_values[k])):
        running = max(running, min(1.0, (family - i) * p_values[key]))
        adjusted[key] = running
    return adjusted


def shared_ranks(
    values: Mapping[str, Sequence[float | None]],
    better: Better = "lower",
    alpha: float = 0.05,
    scale: Scale = "difference",
) -> dict[str, int | None]:
    """Places in the order of the means; entries share the place of the best one that they cannot be told from.

    Going down the order, an entry joins the group above it unless the paired t test separates it from that group's
    first, Holm-corrected over all entries below that first; else it opens a group at its own place. So a rank never
    runs against the means, and a noisy entry does not rise by being noisy. On the scale of ratios the means are
    geometric and the test is of logarithms: one large value then neither moves an entry far down nor, by its spread,
    hides that the others are far from the first.

    Since the first is chosen for its mean, equal entries are split more often than `alpha` says. Of normal values at
    five seeds, .05: 8 % for five entries, 18 % for twenty-five. Correcting over all pairs instead would leave 25
    entries and 5 seeds with hardly a split.

    Entries are aligned by seed. Not ranked (None) is an entry that lacks a value at any seed, because a mean over the
    seeds that it survived would reward failing; one that has a single seed, which separates nobody; and on the scale of
    ratios one with a value that is not positive.
    """
    sign = 1 if better == "lower" else -1
    usable = {name: _on_scale(seeds, scale) for name, seeds in values.items()}
    complete = {name: seeds for name, seeds in usable.items() if seeds is not None and len(seeds) > 1}
    means = {name: float(np.mean(seeds)) for name, seeds in complete.items()}
    order = sorted(complete, key=lambda name: (sign * means[name], name))
    ranks: dict[str, int | None] = dict.fromkeys(values)
    apart: set[str] = set()
    for place, name in enumerate(order, start=1):
        if place == 1 or name in apart:
            first, rank = name, place
            tests = {other: paired(complete[first], complete[other]).p_value for other in order[place:]}
            adjusted = holm({other: p for other, p in tests.items() if p is not None})
            apart = {other for other, p in adjusted.items() if p <= alpha and means[other] != means[first]}
        ranks[name] = rank
    return ranks


def _on_scale(seeds: Sequence[float | None], scale: Scale) -> list[float] | None:
    """The values, or their logarithms for ratios; None where one is absent or has none."""
    known = [value for value in seeds if value is not None and (scale == "difference" or value > 0)]
    if len(known) < len(seeds):
        return None
    return [math.log(value) for value in known] if scale == "ratio" else known


def median_bounds(values: Sequence[float], planned: int, better: Better = "lower") -> tuple[float | None, float | None]:
    """(best case, worst case) of the median over all planned runs, whatever the failed ones might have given.

    A failed run counts as better than any number, then as worse than any; None where that makes the median
    unbounded.
    """
    failed = [math.inf] * (planned - len(values))
    if not planned:
        return None, None
    if len(values) <= len(failed):
        return None, None
    low = float(np.median([*values, *(-f for f in failed)]))
    high = float(np.median([*values, *failed])) if failed else low
    return (low, high) if better == "lower" else (high, low)


def median_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The median and the order statistics that cover the true one at `level` or more, whatever the law of the values.

    The k-th smallest and the k-th largest of n values cover it with probability 1 - 2 P(Binomial(n, ½) < k).
    """
    n = len(values)
    if n == 0:
        return Interval(None, None, None, 0, "no value")
    ordered = sorted(values)
    below, k = 0.0, 0  # P(Binomial(n, ½) < k)
    while k < n // 2 and below + math.comb(n, k) / 2**n <= (1 - level) / 2:
        below += math.comb(n, k) / 2**n
        k += 1
    median = float(np.median(ordered))
    if k == 0:
        return Interval(median, None, None, n, "too few rounds")
    return Interval(median, ordered[k - 1], ordered[n - k], n)


def equivalence_p(values: Sequence[float], margin: float) -> float | None:
    """The p-value of |μ| ≥ margin, small where the mean of the values is shown to lie within ±margin.

    The larger of two one-sided t tests, of μ ≤ -margin and of μ ≥ margin (Schuirmann 1987). None without a test: a
    single value, or values that are equal but for rounding.

    Args:
        margin: positive, in the values' unit; log 1.25 for ratios within ×.8 to ×1.25.
    """
    n = len(values)
    deviation = float(np.std(values, ddof=1)) if n > 1 else 0.0
    if deviation <= ROUNDING:
        return None
    from scipy.special import stdtr

    error = deviation / math.sqrt(n)
    return float(stdtr(n - 1, (abs(float(np.mean(values))) - margin) / error))


def interaction_p(values: np.ndarray) -> float | None:
    """The p-value of equal means over the columns of values (n, K): n seeds, each seen on K data sets.

    F = n Σₖ (x̄ₖ - x̄)² (n - 1) / Σᵢₖ (xᵢₖ - x̄ᵢ - x̄ₖ + x̄)², repeated measures, both degrees of freedom times
    ε = (tr S)² / (K - 1) tr S², S the doubly centred covariance of the columns (Greenhouse & Geisser 1959), because
    spreads differ between data sets. None without a test: one row or column, or no spread.
    """
    n, count = values.shape
    if n < 2 or count < 2:
        return None
    columns = values.mean(0)
    rest = values - values.mean(1, keepdims=True) - columns + values.mean()
    covariance = rest.T @ rest / (n - 1)
    if float(np.trace(covariance)) <= ROUNDING**2:
        return None
    from scipy.special import fdtrc

    epsilon = float(np.trace(covariance) ** 2 / ((count - 1) * np.trace(covariance @ covariance)))
    ratio = n * float(np.sum((columns - values.mean()) ** 2)) / float(np.trace(covariance))
    return float(fdtrc(epsilon * (count - 1), epsilon * (count - 1) * (n - 1), ratio))


def seeds_to_decide(
    mean: float, deviation: float, alpha: float, margin: float | None = None, power: float = 0.8, most: int = 1000
) -> int | None:
    """The seeds at which a t test, or two one-sided ones for equivalence, decide with `power`; None beyond `most`.

    It takes the mean and the deviation that were seen for the true ones: a plan, not a promise. The power is the
    noncentral t's; that of the two one-sided tests is bounded below by the sum of theirs less 1.

    Args:
        alpha: the level of the two-sided test, and of each one-sided one.
        margin: half the width of the interval of equivalence; None if nothing counts as equivalent.
    """
    from scipy.special import nctdtr, stdtrit

    def decides(n: int) -> bool:
        scale = math.sqrt(n) / deviation
        differs = 1 - float(nctdtr(n - 1, abs(mean) * scale, stdtrit(n - 1, 1 - alpha / 2)))
        if margin is None or abs(mean) >= margin:
            return differs >= power
        limit = stdtrit(n - 1, 1 - alpha)
        sides = [1 - float(nctdtr(n - 1, (margin + sign * mean) * scale, limit)) for sign in (-1, 1)]
        return max(differs, sum(sides) - 1) >= power

    if deviation <= 0:
        return None
    low, high = 2, 2
    while not decides(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
