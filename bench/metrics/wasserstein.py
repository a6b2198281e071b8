"""Wasserstein-2 distance between samples of the model and the test set, by the best assignment."""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, metric

LARGEST = 1_024  # the assignment takes the cube of it
ROUNDS = 512


def _potentials(cost: Tensor) -> tuple[float, Tensor, Tensor]:
    """The least mean cost of an assignment, (n, n), and the dual potentials of rows and columns, both (n,).

    φᵢ <= φⱼ + c(i, σ(j)) - c(j, σ(j)) for the best assignment σ: shortest paths, by Bellman and Ford.
    """
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    matched = cost[torch.as_tensor(rows), torch.as_tensor(columns)]
    step = cost[:, torch.as_tensor(columns)] - matched
    phi = torch.zeros_like(matched)
    for _ in range(ROUNDS):
        shorter = torch.minimum(phi, (phi + step).amin(1))
        if torch.allclose(shorter, phi, rtol=0, atol=1e-12):
            break
        phi = shorter
    return float(matched.mean()), phi, matched - phi


@metric(needs={"samples"}, unit="x", better="lower", version=1)
def wasserstein(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """√ min over assignments σ of the mean of ‖xᵢ - y_σ(i)‖², xᵢ ~ q, yᵢ ~ p, in units of x.

    n samples against n test points, at most 1,024, events flattened, exact by linear assignment. As an estimate of the
    distance of the laws it is biased upwards, by more the higher the dimension; `floor` in the detail is what the n
    test points give against n others. The standard error is that of the central limit theorem for W₂² (del Barrio &
    Loubes 2019), the variance of the dual potentials; it does not cover the bias, and is too small at the floor.
    """
    n = min(len(samples), len(data.test) // 2, LARGEST)
    x = samples[rng.distinct(len(samples), (n,))].flatten(1).double()
    if not x.isfinite().all():
        return Estimate(None, n=n, reason="some of the samples are not finite")
    y, other = data.test[rng.distinct(len(data.test), (2 * n,))].flatten(1).double().split(n)
    square, at_x, at_y = _potentials(torch.cdist(x, y).square())
    floor = math.sqrt(_potentials(torch.cdist(other, y).square())[0])
    value = math.sqrt(square)
    variance = float(at_x.var() + at_y.var()) / n
    return Estimate(value, math.sqrt(variance) / (2 * value) if value > 0 else 0.0, n, detail={"floor": floor})
