"""A gradient with its noise, compared with an exact one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gradient:
    """An expected gradient: its mean over each seed's draws, (S, P), or S = 1 if it was integrated."""

    by_seed: Tensor
    draws: int

    @property
    def integrated(self) -> bool:
        return not self.draws

    @property
    def mean(self) -> Tensor:
        return self.by_seed.mean(0)

    @cached_property
    def error(self) -> Tensor:
        """Standard errors, (P,)."""
        seeds = len(self.by_seed)
        return torch.zeros_like(self.mean) if self.integrated else self.by_seed.std(0) / math.sqrt(seeds)

    def jackknife(self, statistic: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """A statistic of the mean and its standard error over the seeds."""
        value, seeds = float(statistic(self.mean)), len(self.by_seed)
        if self.integrated:
            return value, 0.0
        rest = (self.by_seed.sum(0) - self.by_seed) / (seeds - 1)
        left_out = torch.stack([statistic(mean) for mean in rest])
        return value, float(left_out.std(correction=0)) * math.sqrt(seeds - 1)


def compare(found: Gradient, exact: Tensor) -> dict[str, float]:
    """Cosine and relative error of an expected gradient against an exact one, with standard errors.

    `bias` is ‖mean - exact‖ / ‖exact‖ less what the noise of the mean adds to it, `floor`, in quadrature.
    """
    size = exact.norm()
    floor = float(found.error.norm() / size)
    raw, raw_error = found.jackknife(lambda mean: (mean - exact).norm() / size)
    cosine, cosine_error = found.jackknife(lambda mean: mean @ exact / mean.norm() / size)
    return {
        "bias": math.sqrt(max(raw**2 - floor**2, 0.0)),
        "bias_se": max(raw_error, floor / math.sqrt(2)) if floor else 0.0,
        "floor": floor,
        "cosine": cosine,
        "cosine_se": cosine_error,
    }


def rise(found: Gradient, away: Tensor) -> dict[str, float]:
    """The slope of the loss along a direction, and its standard error."""
    slope, error = found.jackknife(lambda mean: mean @ away / away.norm())
    return {"rise": slope, "rise_se": error}
