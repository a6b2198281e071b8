"""What an objective of noised data would still be off by if it learned its law perfectly."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.core.data_types import Data
from bench.core.quadrature import GRIDS, evaluate

CELLS_A_SIGMA = 2.0  # of the grid: the midpoint rule then has a Gaussian kernel to nine digits
LARGEST = 1024  # cells a side


def smoothing_floor(data: Data, sigma: float) -> float | None:
    """KL(p‖p * N(0, σ²I)) in nats, p the data's density; None where it is not known or σ is too small for the grid.

    An objective whose minimiser is the law of noised data cannot come nearer to p than this, whatever its network.

    Args:
        sigma: the noise level, in units of x.
    """
    if data.grid is None or data.log_density is None:
        return None
    sides = [high - low for low, high in zip(data.grid.low, data.grid.high, strict=True)]
    n = max(GRIDS[0], math.ceil(CELLS_A_SIGMA * max(sides) / sigma))
    if n > LARGEST:
        return None
    like = data.train.new_empty(0, dtype=torch.float64)
    log_p = evaluate(data.log_density, data.grid, n, like=like).double().reshape((n,) * len(sides))
    smoothed = log_p.exp()
    for axis, side in enumerate(sides):
        smoothed = torch.movedim(
            torch.tensordot(_kernel(n, side, sigma).to(smoothed), smoothed, ([1], [axis])), 0, axis
        )
    p = log_p.exp()
    gap = torch.where(p > 0, p * (log_p - smoothed.log()), 0.0)
    return float(gap.sum() * math.prod(side / n for side in sides))


def _kernel(n: int, side: float, sigma: float) -> Tensor:
    """N(xᵢ; xⱼ, σ²) times the cell, (n, n): a convolution along one axis."""
    x = (torch.arange(n, dtype=torch.float64) + 0.5) * side / n
    density = torch.exp(-(x[:, None] - x).square() / (2 * sigma**2)) / math.sqrt(2 * math.pi * sigma**2)
    return density * side / n
