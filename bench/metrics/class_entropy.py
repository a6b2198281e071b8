"""How evenly the samples fall into the classes of the data: collapse."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, image_features, image_flaw, metric


def _counts(logits: Tensor) -> Tensor:
    return torch.bincount(logits.argmax(1), minlength=logits.shape[1])


def _entropy(share: Tensor) -> float:
    return float(torch.special.entr(share).sum())


@metric(needs={"samples", "extractor", "value_range"}, unit="nats", better="higher", version=1)
def class_entropy(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """H = -Σ pₖ ln pₖ, pₖ the share of samples that the data set's classifier takes for class k, in nats.

    0 for a model of one class; `ceiling` in the detail is that of the test images, `classes` the counts. Biased
    downwards by (K - 1)/2n; the standard error is the delta method's. Noise that the classifier spreads evenly does
    well here: it tells collapse and nothing else, so read it with FID.
    """
    if reason := image_flaw(samples):
        return Estimate(None, n=len(samples), reason=reason)
    counts, held_out = (_counts(image_features(x, data)[1]) for x in (samples, data.test))
    n = len(samples)
    share = counts.double() / n
    value = _entropy(share)
    spread = float((torch.xlogy(share, share) * share.clamp(min=1 / n).log()).sum()) - value**2
    detail = {"extractor": data.extractor, "classes": counts.tolist(), "ceiling": _entropy(held_out / held_out.sum())}
    return Estimate(value, math.sqrt(max(spread, 0.0) / n), n, detail=detail)
