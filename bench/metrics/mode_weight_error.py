"""How much probability the model puts in the wrong mode, exact."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import (
    GRIDS,
    Data,
    Energy,
    Estimate,
    GridDistribution,
    Rng,
    evaluate,
    integration_warning,
    metric,
    outside_mass,
    tabulate,
    tabulate_density,
)


def _weights(table: GridDistribution, mode: Tensor, modes: int) -> Tensor:
    return torch.zeros(modes, dtype=torch.float64, device=mode.device).index_add_(0, mode, table.log_mass.exp())


@metric(needs={"grid", "log_density", "mode_of"}, unit="probability", better="lower", version=1)
def mode_weight_error(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """½ Σₖ |q(region k) - p(region k)|, the total variation between the laws of `data.mode_of(x)`; in [0, 1].

    Both probabilities by quadrature: every cell of the grid counts for the mode of its centre. Regions tile the box, so
    the truth gives 0 even where modes overlap. Taken on two grids; `numerical_error` in the detail is the difference of
    the two values.
    """
    assert data.grid is not None
    assert data.log_density is not None
    assert data.mode_of is not None
    values = []
    for n in GRIDS:
        q = tabulate(energy, data.grid, n, like=data.test)
        if not math.isfinite(q.log_z):
            return Estimate(None, reason=f"the energy is not finite on the grid: its log Z is {q.log_z}")
        p = tabulate_density(data.log_density, data.grid, n, like=data.test)
        mode = evaluate(data.mode_of, data.grid, n, like=data.test)
        model, truth = (_weights(law, mode, int(mode.max()) + 1) for law in (q, p))
        values.append((float((model - truth).abs().sum()) / 2, model.tolist(), truth.tolist(), q, p.log_z))
    (value, model_weights, data_weights, law, log_mass), (coarse, *_) = values
    error = abs(value - coarse)
    masses = {
        "edge_mass": law.edge_mass,
        "outside_mass": outside_mass(energy, data.grid, law.log_z, like=data.test),
    }
    reason = integration_warning(value, error, data_mass=math.exp(log_mass), **masses)
    detail = {
        "numerical_error": error,
        **masses,
        "model_weights": model_weights,
        "data_weights": data_weights,
    }
    return Estimate(value, certified=not reason, reason=reason, detail=detail)
