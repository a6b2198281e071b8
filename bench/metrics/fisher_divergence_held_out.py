"""Fisher divergence of the model from the data's law at held-out points, in any dimension."""

from __future__ import annotations

import math

from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, in_chunks, metric
from bench.api import score as model_score

LARGEST = 4_096


@metric(needs={"score"}, unit="1/x²", better="lower", version=1)
def fisher_divergence_held_out(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """The mean of ‖∇log p(x) - s(x)‖² over n test points, at most 4,096, s = -∇E, in inverse squared units of x.

    An unbiased estimate of `fisher_divergence`, with the standard error of the mean. It needs no log Z, and is nearly
    blind to the weights of separated modes.
    """
    assert data.score is not None
    true_score = data.score
    n = min(len(data.test), LARGEST)
    x = data.test[rng.distinct(len(data.test), (n,))]
    error = in_chunks(lambda points: true_score(points) - model_score(energy, points), x).flatten(1).double()
    squares = error.square().sum(-1)
    if not squares.isfinite().all():
        return Estimate(None, n=n, reason="the model's score is not finite at some test points")
    return Estimate(float(squares.mean()), float(squares.std()) / math.sqrt(n), n)
