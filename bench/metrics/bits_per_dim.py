"""Likelihood of held-out images by annealed importance sampling, as it is given in the literature."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

from torch import Tensor

from bench.api import Data, Energy, Estimate, Integer, Rng, annealed_nll, metric


@metric(needs={"levels", "value_range"}, unit="bits/dim", better="lower", version=1, scale="difference", dear=True)
def bits_per_dim(
    energy: Energy,
    samples: Tensor,
    data: Data,
    rng: Rng,
    *,
    particles: Annotated[int, Integer(64, 100_000)] = 256,
    temperatures: Annotated[int, Integer(8, 10_000)] = 300,
) -> Estimate:
    """(NLL + d log(L / span)) / (d log 2), NLL by `nll_ais` in nats, L the levels of a pixel, span of its values in x.

    Of dequantised images: the density is that of pixel + u, u ~ U[0, 1), whose negative log-likelihood is above that of
    the whole pixels (Theis et al. 2016). Estimated and marked as `nll_ais`; where it is wrong it looks too good.
    """
    assert data.levels is not None
    assert data.value_range is not None
    found = annealed_nll(energy, data, rng, particles=particles, temperatures=temperatures)
    if found.value is None:
        return found
    dim = data.test[0].numel()
    low, high = data.value_range
    value = (found.value + dim * math.log(data.levels / (high - low))) / (dim * math.log(2))
    stderr = None if found.stderr is None else found.stderr / (dim * math.log(2))
    return replace(found, value=value, stderr=stderr, detail={**found.detail, "nats": found.value, "dim": dim})
