"""How many samples look like training images."""

from __future__ import annotations

import math

from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, fidelity, image_warning, metric


@metric(needs={"samples", "extractor", "value_range"}, unit="share", better="higher", version=1)
def precision(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """The share of samples whose features lie in a ball of a training image that reaches to its third neighbour.

    By torch-fidelity; in [0, 1], binomial standard error. `ceiling` in the detail is the share of the test images. A
    model of one good image has precision 1: read it with recall.   (Kynkäänniemi et al. 2019)
    """
    if reason := image_warning(samples):
        return Estimate(None, n=len(samples), reason=reason)
    found = fidelity(samples, data)
    share = found.precision
    ceiling = fidelity(data.test[: len(samples)], data).precision
    stderr = math.sqrt(share * (1 - share) / found.n)
    return Estimate(share, stderr, found.n, detail={**found.about, "ceiling": ceiling})
