"""The Swiss roll seen from its end: one spiral arm with Gaussian noise."""

import math
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Count, Data, Grid, Log, Rng, dataset, exact_data, noisy_curves


def spiral(u: Tensor, part: Tensor) -> Tensor:
    """(t cos t, t sin t) / 5 with t = 3π/2 (1 + 2u), from radius .94 to radius 2.83 in one and a half turns."""
    t = 1.5 * math.pi * (1 + 2 * u) + 0 * part
    return torch.stack([t * t.cos(), t * t.sin()], -1) / 5


@dataset(source="Pedregosa et al., scikit-learn (make_swiss_roll), 2011; two of its three axes, over 5", version=1)
def swiss_roll(
    rng: Rng,
    *,
    n_train: Count = 8192,
    n_valid: Count = 4096,
    n_test: Count = 8192,
    sigma: Annotated[float, Log(0.05, 0.3)] = 0.1,
) -> Data:
    """p(x) = ∫₀¹ N(x; c(u), σ²I) du, c a spiral at even angles (so denser inside), with σ = `sigma` in units of x."""
    return exact_data(
        "swiss_roll",
        rng,
        (n_train, n_valid, n_test),
        noisy_curves(spiral, 1, sigma),
        grid=Grid((-4.0, -4.0), (4.0, 4.0)),
        local_scale=sigma,
    )
