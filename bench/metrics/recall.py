"""How much of the training images the samples cover."""

from __future__ import annotations

import math

from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, fidelity, image_warning, metric


@metric(needs={"samples", "extractor", "value_range"}, unit="share", better="higher", version=1)
def recall(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """The share of training images whose features lie in a ball of a sample that reaches to its third neighbour.

    By torch-fidelity; in [0, 1], binomial standard error over the training images. Fewer samples have wider balls, so
    compare it at one n only; `ceiling` in the detail is that of as many test images. Samples that are far apart have
    wide balls, too: noise can have recall 1; read it with precision.   (Kynkäänniemi et al. 2019)
    """
    if reason := image_warning(samples):
        return Estimate(None, n=len(samples), reason=reason)
    found = fidelity(samples, data)
    share = found.recall
    ceiling = fidelity(data.test[: len(samples)], data).recall
    stderr = math.sqrt(share * (1 - share) / found.n_reference)
    return Estimate(share, stderr, found.n, detail={**found.about, "ceiling": ceiling})
