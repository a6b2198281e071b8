"""Fisher divergence of the model from the data's law, exact."""

from __future__ import annotations

import math

from torch import Tensor

from bench.api import (
    GRIDS,
    Data,
    Energy,
    Estimate,
    Rng,
    evaluate,
    grid_points,
    in_chunks,
    integration_warning,
    metric,
    tabulate_density,
)
from bench.api import score as model_score

NEGLIGIBLE = 32.0  # nats below the peak: e⁻³² is the rounding of the sum


def _on_grid(energy: Energy, data: Data, n: int) -> tuple[float, float]:
    """The divergence and the mass of p, on n cells a side."""
    assert data.grid is not None
    assert data.log_density is not None
    assert data.score is not None
    p = tabulate_density(data.log_density, data.grid, n, like=data.test)
    true_score = evaluate(data.score, data.grid, n, like=data.test)
    heavy = p.log_mass > p.log_mass.max() - NEGLIGIBLE
    x = grid_points(data.grid, n, dtype=data.test.dtype, device=data.test.device)[0][heavy]
    error = true_score[heavy].double() - in_chunks(lambda points: model_score(energy, points), x).double()
    return float((p.log_mass[heavy].exp() * error.square().sum(-1)).sum()), math.exp(p.log_z)


@metric(needs={"grid", "log_density", "score"}, unit="1/x²", better="lower", version=1)
def fisher_divergence(energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
    """E_p‖∇log p - s‖², s = -∇E, without a ½ (explicit score matching is half of it), in inverse squared units of x.

    By quadrature over the cells of p that are within e⁻³² of its peak. Taken on two grids; `numerical_error` in the
    detail is the difference of the two values. It sees the shape of each mode and is nearly blind to their weights; it
    needs no log Z, so a model that is not integrable has a value too.
    """
    (value, mass), (coarse, _) = (_on_grid(energy, data, n) for n in GRIDS)
    if not math.isfinite(value):
        return Estimate(None, reason=f"the model's score is not finite where the data is: {value}")
    error = abs(value - coarse)
    reason = integration_warning(value, error, data_mass=mass)
    return Estimate(value, certified=not reason, reason=reason, detail={"numerical_error": error})
