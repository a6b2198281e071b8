"""How far an objective's own estimate of log Z is from the truth, exact."""

from __future__ import annotations

import math

from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, log_partition, metric


@metric(needs={"grid", "log_z"}, unit="nats", better="lower", version=1, scale="difference")
def log_z_error(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """|ζ - log ∫ exp(-E)|, ζ the objective's own estimate, the integral over the box by quadrature, in nats.

    Some objectives learn log Z beside the energy, or weigh their chains such that these estimate it; they declare it as
    `log_z`. It is an estimate for the last weights: the averaged and the best ones and other objectives have no value.
    Certified as in `nll`. The signed error
    stands in the detail.
    """
    assert data.grid is not None
    estimate: float = energy.log_z_estimate  # type: ignore[attr-defined]
    partition = log_partition(energy, data.grid, like=data.test)
    if not math.isfinite(estimate - partition.log_z):
        return Estimate(None, reason=f"log Z is {partition.log_z}, its estimate {estimate}")
    detail = {
        "error": estimate - partition.log_z,
        "log_z": partition.log_z,
        "numerical_error": partition.error,
        "outside_mass": partition.outside_mass,
        "rim_mass": partition.rim_mass,
    }
    value = abs(estimate - partition.log_z)
    return Estimate(value, certified=not partition.warning, reason=partition.warning, detail=detail)
