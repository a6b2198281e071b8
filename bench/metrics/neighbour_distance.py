"""How far the samples are from the training images that are nearest to them: memorisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, image_features, image_warning, metric

STANDARD_ERRORS = 3


def _nearest(features: Tensor, others: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, others).min(1).values for part in features.split(1_000)]).double()


@metric(needs={"samples", "extractor", "value_range"}, unit="features", better="lower", version=1)
def neighbour_distance(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """Mean over samples of the distance to the nearest training image, Euclidean, between features of the classifier.

    `floor` in the detail is the mean over the test images. A model of the data's law has that, not less: a value below
    it by more than three standard errors of the difference means copies, or samples without the data's variety, and is
    not certified. Above it, the samples do not look like the data.
    """
    if reason := image_warning(samples):
        return Estimate(None, n=len(samples), reason=reason)
    train = image_features(data.train, data)[0]
    distance, held_out = (_nearest(image_features(x, data)[0], train) for x in (samples, data.test))
    value, floor = float(distance.mean()), float(held_out.mean())
    stderr = float(distance.std()) / math.sqrt(len(distance))
    both = math.hypot(stderr, float(held_out.std()) / math.sqrt(len(held_out)))
    flaw = "nearer to the training images than test images are" if value < floor - STANDARD_ERRORS * both else ""
    detail = {"extractor": data.extractor, "floor": floor, "n_floor": len(held_out)}
    return Estimate(value, stderr, len(samples), certified=not flaw, reason=flaw, detail=detail)
