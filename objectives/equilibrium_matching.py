"""Equilibrium matching: a static energy whose gradient points from data to noise and vanishes at the data."""

from typing import Annotated

import torch
from torch import Tensor

from bench.api import Energy, Linear, Log, Rng, objective, per_example, score, sum_event

STEPS = 100


def _schedule(gamma: Tensor, plateau: float, slope: float) -> Tensor:
    return slope * ((1 - gamma) / (1 - plateau)).clamp(max=1.0)


def _descent(energy: Energy, x_like: Tensor, rng: Rng, *, plateau: float, slope: float) -> Tensor:
    """Gradient descent from noise, over a path of 2/λ: a straight way to the data would take at most half of it."""
    x = rng.normal_like(x_like)
    for _ in range(STEPS):
        x = x + 2 / (slope * STEPS) * score(energy, x)
    return x


def _gaussian_score(x: Tensor, *, plateau: float, slope: float) -> Tensor:
    """-∇E of the minimiser for data from N(0, I): E[(x - ε) c(γ) | x_γ], by quadrature over γ."""
    gamma = (torch.arange(64, dtype=x.dtype) + 0.5) / 64
    variance = gamma.square() + (1 - gamma).square()
    log_law = -0.5 * x.square().sum(-1, keepdim=True) / variance - 0.5 * x.shape[-1] * variance.log()
    field = _schedule(gamma, plateau, slope) * (2 * gamma - 1) / variance
    return (log_law.softmax(-1) * field).sum(-1, keepdim=True) * x


@objective(
    label="EqM",
    family="flow matching",
    minimiser="none",
    source="Wang & Du 2025, Equilibrium matching: generative modeling with implicit energy-based models",
    note="Its minima are at the data, but exp(-E) is no estimate of their density: the depths of basins follow the "
    "schedule c, not the law.",
    stationary=_gaussian_score,
    sampler=_descent,
)
def equilibrium_matching(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    plateau: Annotated[float, Linear(0.0, 0.99)] = 0.8,
    slope: Annotated[float, Log(0.1, 100.0)] = 4.0,
) -> Tensor:
    r"""½‖∇E(x_γ) - (ε - x) c(γ)‖², x_γ = γx + (1 - γ)ε, γ ~ U(0, 1), c(γ) = λ min(1, (1 - γ)/(1 - a)).

    One energy without a noise level: descending it leads from noise to data, where the gradient is 0.

    Args:
        x: data (*batch, *event), of about unit scale, since the noise ε ~ N(0, I) is.
        plateau: a, up to which γ the gradient keeps its size.
        slope: λ.

    Returns:
        The loss of each example, (*batch,), in squared units of x.
    """
    gamma = rng.uniform(x.shape[: rng.batch_ndim], x.dtype)
    noise = rng.normal_like(x)
    between = per_example(gamma, x) * x + per_example(1 - gamma, x) * noise
    size = _schedule(gamma, plateau, slope)
    field = -score(energy, between, create_graph=True)
    return 0.5 * sum_event((field - per_example(size, x) * (noise - x)).square(), rng)
