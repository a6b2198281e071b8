"""Negative log-likelihood of held-out data by annealed importance sampling, in any dimension."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from bench.api import Data, Energy, Estimate, Integer, Rng, annealed_nll, metric


@metric(needs=set(), unit="nats", better="lower", version=1, scale="difference", dear=True)
def nll_ais(
    energy: Energy,
    samples: Tensor,
    data: Data,
    rng: Rng,
    *,
    particles: Annotated[int, Integer(64, 100_000)] = 1024,
    temperatures: Annotated[int, Integer(8, 10_000)] = 300,
) -> Estimate:
    """mean of E(x) over the test set + log Ẑ, in nats; of standardised data in the units in which they were given.

    log Ẑ lies below log Z in expectation, so this bounds the negative log-likelihood from below: where it is wrong it
    looks too good. It may be ranked only where nothing speaks against it: the base covers the data and the chains'
    ends, the effective sample is large enough, half and twice the temperatures and a wider base agree, and long chains
    from the base and from the data meet. `mark` in the detail is then `certified_ais`, else `uncertified`; `certified`
    by itself is quadrature's. The standard error is that of log Ẑ and of the mean over the n test points.

    Args:
        particles: of each run.
        temperatures: about how many at most; the run that is read has twice as many.
    """
    return annealed_nll(energy, data, rng, particles=particles, temperatures=temperatures)
