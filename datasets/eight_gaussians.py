"""Eight Gaussians on a circle."""

import math
from typing import Annotated

import torch

from bench.api import Count, Data, Grid, Linear, Log, Rng, dataset, exact_data, noisy_points


@dataset(source="Metz et al., Unrolled generative adversarial networks, 2017 (there at another scale)", version=1)
def eight_gaussians(
    rng: Rng,
    *,
    n_train: Count = 8192,
    n_valid: Count = 4096,
    n_test: Count = 8192,
    sigma: Annotated[float, Log(0.05, 0.3)] = 0.15,
    radius: Annotated[float, Linear(1.0, 3.0)] = 2.0,
) -> Data:
    """p(x) = ⅛ Σₘ N(x; r (cos πm/4, sin πm/4), σ²I), with r = `radius` and σ = `sigma` in units of x."""
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    centres = radius * torch.stack([angle.cos(), angle.sin()], -1)
    half = radius + 2
    return exact_data(
        "eight_gaussians",
        rng,
        (n_train, n_valid, n_test),
        noisy_points(centres, sigma),
        grid=Grid((-half, -half), (half, half)),
        local_scale=sigma,
    )
