"""Squared maximum mean discrepancy of features between samples of the model and the training images."""

from __future__ import annotations

from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, fidelity, image_warning, metric


@metric(needs={"samples", "extractor", "value_range"}, unit="1", better="lower", version=1, scale="difference")
def kid(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """E k(f, f̃) + E k(g, g̃) - 2 E k(f, g), k(f, g) = (1 + fᵀg/64)³, f features of samples, g of training images.

    By torch-fidelity, the mean over 100 pairs of subsets of half the samples. Without bias, unlike FID, whatever the
    number of samples, so that it may be below 0. The standard error is the standard deviation over the subsets, which
    for halves is the jackknife's; it counts the reference's halves, too, and so errs on the large side: by
    half or so, and for a good model by two or three times. `floor` in the detail is the value of the test images.
    (Bińkowski et al. 2018)
    """
    if reason := image_warning(samples):
        return Estimate(None, n=len(samples), reason=reason)
    found = fidelity(samples, data)
    floor = fidelity(data.test[: len(samples)], data)
    return Estimate(found.kid, found.kid_stderr, found.n, detail={**found.about, "floor": floor.kid})
