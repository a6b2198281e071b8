"""How well a classifier tells samples of the model from test data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, metric

LARGEST = 2_000


@metric(needs={"samples"}, unit="share", better="lower", version=1, scale="difference")
def classifier_two_sample(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """The share of held-out points whose origin, model or data, the √n nearest of the others tell; ½ at the truth.

    n samples and n test points, at most 2,000, events flattened, half of each to vote and half to be told; binomial
    standard error. Neighbours see little in many dimensions: near ½ says that this classifier sees no difference, not
    that there is none.   (Lopez-Paz & Oquab 2017)
    """
    n = min(len(samples), len(data.test), LARGEST) // 2 * 2
    x = samples[rng.distinct(len(samples), (n,))].flatten(1).double()
    y = data.test[rng.distinct(len(data.test), (n,))].flatten(1).double()
    if n < 4 or not x.isfinite().all():
        return Estimate(None, n=n, reason="some of the samples are not finite, or there are fewer than four")
    half = n // 2
    voters, told = torch.cat([x[:half], y[:half]]), torch.cat([x[half:], y[half:]])
    from_data = (torch.arange(n, device=x.device) >= half).double()
    neighbours = min(math.isqrt(n) | 1, n - 1)  # odd, so that no vote is even
    nearest = torch.cdist(told, voters).topk(neighbours, largest=False).indices
    votes = from_data[nearest].mean(-1) > 0.5
    share = float((votes == from_data.bool()).double().mean())
    return Estimate(share, math.sqrt(share * (1 - share) / n), n, detail={"neighbours": neighbours})
