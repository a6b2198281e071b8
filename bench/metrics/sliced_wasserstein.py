"""Sliced Wasserstein-2 distance between samples of the model and the test set."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, metric

PROJECTIONS = 128
LARGEST = 4_096


def _transport(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """W₂² on each line between projected points x and y, both (L, n): (L,); and the dual potentials at x and y, (n,).

    The potential φ has φ'(x) = 2(x - T(x)), T the transport map; averaged over the lines.
    """
    (x_sorted, x_order), (y_sorted, y_order) = x.sort(1), y.sort(1)
    gap = x_sorted - y_sorted

    def potential(points: Tensor, order: Tensor, slope: Tensor) -> Tensor:
        rise = torch.diff(points) * (slope[:, 1:] + slope[:, :-1])
        climbed = torch.cat([torch.zeros_like(points[:, :1]), rise.cumsum(1)], 1)
        return torch.empty_like(climbed).scatter_(1, order, climbed).mean(0)

    return gap.square().mean(1), potential(x_sorted, x_order, gap), potential(y_sorted, y_order, -gap)


@metric(needs={"samples"}, unit="x", better="lower", version=1)
def sliced_wasserstein(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """√ mean over directions θ of W₂²(θᵀx, θᵀy), x ~ q, y ~ p, in units of x.   (Bonneel et al. 2015)

    128 directions, uniform on the sphere; n samples against n test points, the events flattened. It is biased upwards:
    two samples of one law do not give 0. `floor` in the detail is what the n test points give against n others of the
    test set, and a value near it means no visible difference.

    The standard error is that of the central limit theorem for W₂² (del Barrio & Loubes 2019), the variance of the dual
    potentials over the points, plus the spread over directions. It does not cover the bias, and it is too small at
    the floor, where that theorem's limit is degenerate.
    """
    n = min(len(samples), len(data.test) // 2, LARGEST)
    points = samples[rng.distinct(len(samples), (n,))].flatten(1).double()
    if not points.isfinite().all():
        return Estimate(None, n=n, reason="some of the samples are not finite")
    halves = data.test[rng.distinct(len(data.test), (2 * n,))].flatten(1).double()
    directions = rng.normal((PROJECTIONS, points.shape[1]), torch.float64).to(points.device)
    directions = directions / directions.norm(dim=1, keepdim=True)
    x, y, other = directions @ points.T, directions @ halves[:n].T, directions @ halves[n:].T

    lines, at_x, at_y = _transport(x, y)
    value = math.sqrt(float(lines.mean()))
    variance = (at_x.var() + at_y.var()) / n + lines.var() / PROJECTIONS
    floor = math.sqrt(float((other.sort(1)[0] - y.sort(1)[0]).square().mean()))
    detail = {"floor": floor, "projections": PROJECTIONS, "order": 2}
    stderr = math.sqrt(float(variance)) / (2 * value) if value > 0 else 0.0
    return Estimate(value, stderr, n, detail=detail)
