"""Where a series of measurements changes for good: exact steps, and steps in noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

import numpy as np
import pandas as pd

ALPHA = 0.05  # pure noise shows a hint in at most this share of histories
SHIFT = 1.05


def exact_steps(values: Sequence[float], tolerance: float) -> list[int]:
    """Where a value differs from the one before it by more than `tolerance` of that."""
    return [k for k, (old, new) in enumerate(pairwise(values), start=1) if not abs(new - old) <= tolerance * abs(old)]


def noisy_steps(values: Sequence[float], alpha: float) -> list[int]:
    """Where Pettitt's test finds a step at level `alpha`: in all values, then within both sides, and so on.

    A stair is first cut in the middle of a tread, so a step must be found again between its two neighbours.
    """
    edges = [0, *sorted(_splits(values, alpha)), len(values)]
    return [k for low, k, high in zip(edges, edges[1:], edges[2:], strict=False) if _split(values[low:high], alpha)]


def _splits(values: Sequence[float], alpha: float, offset: int = 0) -> Iterator[int]:
    at = _split(values, alpha)
    if at:
        yield offset + at
        yield from _splits(values[:at], alpha, offset)
        yield from _splits(values[at:], alpha, offset + at)


def _split(values: Sequence[float], alpha: float) -> int:
    """How many values lie before the step; 0 if there is none."""
    n = len(values)
    if n < 2:
        return 0
    ranks = pd.Series(values).rank().to_numpy()
    statistic = np.abs(2 * np.cumsum(ranks) - (n + 1) * np.arange(1, n + 1))[:-1]
    at = int(np.argmax(statistic)) + 1
    p_value = 2 * math.exp(-6 * float(statistic[at - 1]) ** 2 / (n**3 + n**2))
    before, after = median(values[:at]), median(values[at:])
    return at if p_value <= alpha and max(before, after) >= SHIFT * min(before, after) else 0
