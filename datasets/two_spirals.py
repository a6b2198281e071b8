"""Two spiral arms, wound into each other, with Gaussian noise."""

import math
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Count, Data, Grid, Log, Rng, dataset, exact_data, noisy_curves


def spiral(u: Tensor, part: Tensor) -> Tensor:
    """±3 √u (cos 3π√u, sin 3π√u): the root makes the steps along the arm nearly even."""
    radius, sign = 3 * u.sqrt(), 1 - 2 * part
    angle = math.pi * radius
    return torch.stack([sign * radius * angle.cos(), sign * radius * angle.sin()], -1)


@dataset(source="Grathwohl et al., FFJORD, 2019 (there with uniform noise besides)", version=1)
def two_spirals(
    rng: Rng,
    *,
    n_train: Count = 8192,
    n_valid: Count = 4096,
    n_test: Count = 8192,
    sigma: Annotated[float, Log(0.05, 0.2)] = 0.1,
) -> Data:
    """p(x) = ½ Σₘ ∫₀¹ N(x; c(u, m), σ²I) du, c two arms of one and a half turns, with σ = `sigma` in units of x."""
    return exact_data(
        "two_spirals",
        rng,
        (n_train, n_valid, n_test),
        noisy_curves(spiral, 2, sigma),
        grid=Grid((-4.0, -4.0), (4.0, 4.0)),
        local_scale=sigma,
    )
