"""The negative log-likelihood of held-out data by annealed importance sampling."""

from __future__ import annotations

import math

from bench.core.data_types import Data, Estimate
from bench.core.derivatives import Energy
from bench.core.quadrature import in_chunks
from bench.core.rng import Rng
from bench.evaluation.likelihood.certificate import annealed_partition

BOUNDS = "a lower bound in expectation, by annealed importance sampling"


def annealed_nll(energy: Energy, data: Data, rng: Rng, *, particles: int, temperatures: int) -> Estimate:
    """mean of E(x) over the test set + log Ẑ, in nats and in the units in which the data were given.

    The standard error is that of log Ẑ and of the mean over the n test points. It is certified where
    `annealed_partition` is, whose detail it has, with `log_z` and `log_z_stderr`.
    """
    found = annealed_partition(energy, data.train, rng, held_out=data.test, particles=particles, most=temperatures)
    energies = in_chunks(energy, data.test).double()
    # the density of x = (given - offset) / unit, divided by unit, is that of what was given
    units = 0.0 if data.unit is None else float(data.unit.double().log().sum())
    value, n = float(energies.mean()) + found.log_z + units, len(energies)
    if not math.isfinite(value):
        reason = f"not finite: mean energy of the test set {float(energies.mean())}, log Z {found.log_z}"
        return Estimate(None, n=n, certified=False, reason=reason)
    error = math.hypot(found.stderr, float(energies.std()) / math.sqrt(n)) if n > 1 else None
    detail = {**found.detail, "bounds": BOUNDS, "log_z": found.log_z, "log_z_stderr": found.stderr}
    return Estimate(value, error, n, found.certified, found.reason, detail)
