"""Sliced score matching by finite differences of the energy."""

from typing import Annotated

import torch
from torch import Tensor

from bench.api import Energy, Rng, Sigma, objective, per_example, sum_event


@objective(
    label="FD-SSM",
    family="score matching",
    divergence="Fisher",
    bias={"epsilon": 2},
    source="Pang et al. 2020, Efficient learning of generative models via finite-difference score matching",
    note="Off implicit score matching by O(epsilon²); three energies and no derivative of a derivative.",
    proof={"epsilon": 0.05},
)
def finite_difference_sliced_score_matching(
    energy: Energy, x: Tensor, rng: Rng, *, epsilon: Annotated[float, Sigma(1e-3, 10.0)] = 0.5
) -> Tensor:
    r"""(d/ε²) [(E₊ - E₋)²/8 - (E₊ + E₋ - 2E)], E± = E(x ± v), v uniform on the sphere ‖v‖ = ε in dimension d.

    (E₊ - E₋)²/8 -> ½(vᵀ∇E)² and E₊ + E₋ - 2E -> vᵀ∇²E v with E[vvᵀ] = (ε²/d) I: the expected loss is that of implicit
    score matching up to O(ε²). Nothing is differentiated twice, but single precision loses digits as 1/ε².

    Args:
        x: data (*batch, *event).
        epsilon: length ε of the step; given in units of local_scale.

    Returns:
        The loss of each example, (*batch,), in nats per squared unit of x.
    """
    batch = rng.batch_ndim - 1
    dim = x[(0,) * rng.batch_ndim].numel()
    direction = rng.normal_like(x)
    v = epsilon * direction / per_example(sum_event(direction.square(), rng).sqrt(), x)
    # one pass: of one length, the three parts are always cut where the batch was
    plus, minus, middle = energy(torch.cat([x + v, x - v, x], batch)).chunk(3, -1)
    return dim / epsilon**2 * ((plus - minus).square() / 8 - (plus + minus - 2 * middle))
