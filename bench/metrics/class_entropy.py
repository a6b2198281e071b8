"""How the samples fall into the classes of the data: collapse."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, image_features, image_warning, metric


def _counts(logits: Tensor) -> Tensor:
    return torch.bincount(logits.argmax(1), minlength=logits.shape[1])


def _entropy(share: Tensor) -> float:
    return float(torch.special.entr(share).sum())


@metric(needs={"samples", "extractor", "value_range"}, unit="nats", better="higher", version=2)
def class_entropy(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """H(q) - KL(p‖q), p and q the shares of classes among samples and training images, by the data's classifier; nats.

    Where the data's classes are balanced that is the samples' entropy H(p). Otherwise, too, it is at most H(q), the
    `ceiling` in the detail, and that only for p = q: samples more even than the data are no better. 0 for one class of
    average share. `entropy` in the detail is H(p), `classes` the counts. Biased downwards by (K - 1)/2n; the standard
    error is the delta method's. Noise that the classifier spreads as the data does well here: it tells collapse and
    nothing else, so read it with FID.
    """
    if reason := image_warning(samples):
        return Estimate(None, n=len(samples), reason=reason)
    counts, given = (_counts(image_features(x, data)[1]).double() for x in (samples, data.train))
    n, own = len(samples), _entropy(given / given.sum())
    share = counts / n
    # half a count each: a class that is not among the training images must not cost an infinity
    gap = share.clamp(min=1 / n).log() - ((given + 0.5) / (given + 0.5).sum()).log()
    divergence = float((share * gap).sum())
    spread = float((share * gap.square()).sum()) - divergence**2
    detail = {
        "extractor": data.extractor,
        "classes": counts.long().tolist(),
        "entropy": _entropy(share),
        "ceiling": own,
    }
    return Estimate(own - divergence, math.sqrt(max(spread, 0.0) / n), n, detail=detail)
