"""Negative log-likelihood of held-out data, exact but for the test set's size."""

from __future__ import annotations

import math

from torch import Tensor

from bench.api import Data, Energy, Estimate, Rng, in_chunks, log_partition, metric


@metric(needs={"grid"}, unit="nats", better="lower", version=2, scale="difference")
def nll(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """mean of E(x) over the test set + log ∫ exp(-E), the integral over three times the box by quadrature, in nats; of
    data that were standardised, in the units in which they were given.

    Where more than a hundredth of the model's mass lies in the outer frame of three times the box, or where two grids
    disagree, the value is not certified. The standard
    error is that of the mean over the n test points; the entropy of the data is the ruler.
    """
    assert data.grid is not None
    partition = log_partition(energy, data.grid, like=data.test)
    energies = in_chunks(energy, data.test).double()
    # the density of x = (given - offset) / unit, divided by unit, is that of what was given
    units = 0.0 if data.unit is None else float(data.unit.double().log().sum())
    value = float(energies.mean()) + partition.log_z + units
    if not math.isfinite(value):
        return Estimate(None, reason=f"mean energy of the test set {float(energies.mean())}, log Z {partition.log_z}")
    n = len(energies)
    masses = {"outside_mass": partition.outside_mass, "rim_mass": partition.rim_mass}
    detail = {"log_z": partition.log_z, "numerical_error": partition.error, **masses}
    return Estimate(value, float(energies.std()) / math.sqrt(n), n, not partition.warning, partition.warning, detail)
