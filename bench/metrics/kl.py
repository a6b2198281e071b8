"""Kullback-Leibler divergence of the model from the data's law, exact."""

from __future__ import annotations

import math

from torch import Tensor

from bench.api import (
    GRIDS,
    Data,
    Energy,
    Estimate,
    Rng,
    integration_warning,
    metric,
    outside,
    tabulate,
    tabulate_density,
)


@metric(needs={"grid", "log_density"}, unit="nats", better="lower", version=2)
def kl(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """KL(p‖q) = ∫ p (log p - log q), q = exp(-E)/Z, by quadrature of the known p over the box, in nats.

    Z is the integral over three times the box; what lies outside of the box adds -log P(x in the box). Within the box
    both laws are normalised on the cells of the grid, so the value is that of two discrete laws and cannot be negative.
    Taken on two grids; `numerical_error` in the detail is the difference of the two values.

    Where more than a hundredth of the model's mass lies in the outer frame of three times the box, or where two grids
    disagree, the value is not certified.

    Raises:
        ArithmeticError: if the value is below zero by more than rounding, which only a mistake in this code can do.
    """
    assert data.grid is not None
    assert data.log_density is not None
    values = []
    for n in GRIDS:
        p = tabulate_density(data.log_density, data.grid, n, like=data.test)
        q = tabulate(energy, data.grid, n, like=data.test)
        if not math.isfinite(q.log_z):
            return Estimate(None, reason=f"the energy is not finite on the grid: its log Z is {q.log_z}")
        values.append((p.expectation(p.log_mass - q.log_mass), math.exp(p.log_z), q))
    (value, mass, model), (coarse, _, coarse_model) = values
    if not math.isfinite(value):
        return Estimate(None, reason="infinite: the model has no mass where the data has some")
    if value < -1e-9:
        raise ArithmeticError(f"a Kullback-Leibler divergence cannot be negative; got {value}")
    beyond = outside(energy, data.grid, model.log_z, like=data.test)
    value += beyond.added(model.log_z)
    error = abs(value - coarse - beyond.added(coarse_model.log_z, coarse=True))
    masses = {"outside_mass": beyond.share(model.log_z), "rim_mass": beyond.rim_share(model.log_z)}
    reason = integration_warning(value, error, data_mass=mass, rim_mass=masses["rim_mass"])
    detail = {"numerical_error": error, "edge_mass": model.edge_mass, "data_mass": mass, **masses}
    return Estimate(value, certified=not reason, reason=reason, detail=detail)
