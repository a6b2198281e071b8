"""Squared maximum mean discrepancy between samples of the model and the test set."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, metric, u_statistic

LARGEST = 1_024
WIDEST, BANDWIDTHS = 2.0, 5


@metric(needs={"samples"}, unit="1", better="lower", version=1, scale="difference")
def maximum_mean_discrepancy(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """MMD² = E k(x, x') + E k(y, y') - 2 E k(x, y), x ~ q, y ~ p, without bias, so that it may be below 0; no unit.

    k(x, y) = mean over w of exp(-‖x - y‖² / 2w²), w = m · {2, 1, ½, ¼, ⅛}, m the median distance between two test
    points; events flattened; in [0, 2] in expectation. n samples against n test points, at most 1,024. The square is
    given, not the root, because the root of an unbiased estimate of 0 does not exist.   (Gretton et al. 2012)
    """
    n = min(len(samples), len(data.test), LARGEST)
    x = samples[rng.distinct(len(samples), (n,))].flatten(1).double()
    y = data.test[rng.distinct(len(data.test), (n,))].flatten(1).double()
    if not x.isfinite().all():
        return Estimate(None, n=n, reason="some of the samples are not finite")
    squares = [torch.cdist(a, b).square() for a, b in ((x, x), (y, y), (x, y))]
    above = torch.triu_indices(n, n, 1, device=y.device)
    median = math.sqrt(float(squares[1][above[0], above[1]].median()))

    def kernel(square: Tensor) -> Tensor:
        gaussian = torch.exp(-square / (2 * (WIDEST * median) ** 2))
        total = gaussian.clone()
        for _ in range(BANDWIDTHS - 1):
            # the fourth power of a Gaussian has half its bandwidth
            total += gaussian.square_().square_()
        return total / BANDWIDTHS

    xx, yy, xy = (kernel(square) for square in squares)
    value, stderr = u_statistic(xx + yy - xy - xy.T)
    if not math.isfinite(value):
        return Estimate(None, n=n, reason=f"no kernel: the median distance between test points is {median}")
    return Estimate(value, stderr, n, detail={"bandwidths": [WIDEST * median / 2**i for i in range(BANDWIDTHS)]})
