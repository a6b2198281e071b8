"""How much probability the model's samples have in the wrong mode, in any dimension."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, metric


@metric(needs={"samples", "mode_of", "mode_weights"}, unit="probability", better="lower", version=1)
def mode_weight_error_of_samples(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """½ Σₖ |fₖ - wₖ|, f the shares of n samples by `data.mode_of`, w the data's mode weights; in [0, 1].

    Biased upwards where it is small: `floor` in the detail is its expectation for exact samples, about
    Σₖ √(wₖ(1 - wₖ) / 2πn). The standard error is that of the shares whose signs are as they are.
    """
    assert data.mode_of is not None
    assert data.mode_weights is not None
    n = len(samples)
    if not samples.isfinite().all():
        return Estimate(None, n=n, reason="some of the samples are not finite")
    weights = data.mode_weights.double()
    mode = data.mode_of(samples)
    share = torch.bincount(mode, minlength=len(weights)).double() / n
    value = float((share - weights).abs().sum()) / 2
    signs = (share - weights).sign()[mode] / 2
    floor = float((weights * (1 - weights) / (2 * math.pi * n)).sqrt().sum())
    return Estimate(value, float(signs.double().std()) / math.sqrt(n), n, detail={"floor": floor})
