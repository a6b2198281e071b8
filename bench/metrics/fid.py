"""Fréchet distance between samples of the model and the training images, on features of a classifier."""

from __future__ import annotations

from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, fidelity, image_warning, metric


@metric(needs={"samples", "extractor", "value_range"}, unit="features²", better="lower", version=1)
def fid(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """‖μ - μ'‖² + tr(Σ + Σ' - 2(ΣΣ')^½), moments of the features of samples and of the training images.

    By torch-fidelity, on the extractor that the data set names: never to be set beside a value on other features, least
    of all Inception's, nor beside one from another number n of samples, since it is biased upwards by about 1/n.
    `floor` in the detail is the value of as many test images as there are, at most n, `n_floor`.   (Heusel et al. 2017)

    With no more samples than features it is not certified: the covariance is singular.
    """
    if reason := image_warning(samples):
        return Estimate(None, n=len(samples), reason=reason)
    found = fidelity(samples, data)
    floor = fidelity(data.test[: len(samples)], data)
    detail = {**found.about, "floor": floor.fid, "n_floor": floor.n}
    return Estimate(found.fid, n=found.n, certified=not found.warning, reason=found.warning, detail=detail)
