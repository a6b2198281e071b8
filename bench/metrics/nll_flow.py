"""Negative log-likelihood of held-out data along the probability flow of a noise-conditional energy."""

from __future__ import annotations

import math
from typing import Annotated

from torch import Tensor

from bench.api import Data, Energy, Estimate, Integer, Log, Rng, TrainedEnergy, flow_likelihood, metric, terminal_doubt

LARGEST_ERROR = 0.01  # nats, of the solver


@metric(needs={"noise_levels"}, unit="nats", better="lower", version=1, scale="difference", dear=True)
def nll_flow(
    energy: Energy,
    samples: Tensor,
    data: Data,
    rng: Rng,
    *,
    points: Annotated[int, Integer(2, 100_000)] = 256,
    tolerance: Annotated[float, Log(1e-8, 1e-2)] = 1e-4,
) -> Estimate:
    """-mean of log q(x) over test points, q what the flow dx/dσ = σ∇E(x, σ) makes of a normal law, in nats.

    q is the flow's own law at the smallest level. It is not exp(-E): only if every E(·, σ) is the exact energy of the
    data's law under noise of σ are the two the same. It is not certified where the solver's error, measured with a
    tenth of the tolerance, is above a hundredth of a nat, or where the largest level is below three times the data's
    widest deviation, so that the law it begins in need not be normal. The standard error is over the points; that of
    the divergence's estimate, none in up to eight dimensions, stands in the detail and is part of it.

    Args:
        points: of the test set, at most.
        tolerance: of the adaptive solver, relative and absolute.
    """
    assert isinstance(energy, TrainedEnergy)
    n = min(len(data.test), points)
    x = data.test[rng.distinct(len(data.test), (n,))]
    found = flow_likelihood(energy, x, data.train, rng, tolerance=tolerance)
    units = 0.0 if data.unit is None else float(data.unit.double().log().sum())
    value = units - float(found.log_density.mean())
    if not math.isfinite(value):
        return Estimate(None, n=n, certified=False, reason="the flow is not finite at some test points")
    reason = terminal_doubt(data.train, found.largest)
    if not found.numerical_error <= LARGEST_ERROR:
        reason = f"the solver's error is {found.numerical_error:.2g} nats: lower the tolerance"
    detail = {
        "numerical_error": found.numerical_error,
        "hutchinson_stderr": float(found.probe_spread.square().mean().sqrt()) / math.sqrt(n),
        "tolerance": tolerance,
        "largest_level": found.largest,
        "energy_evaluations": found.evaluations,
    }
    return Estimate(value, float(found.log_density.std()) / math.sqrt(n), n, not reason, reason, detail)
