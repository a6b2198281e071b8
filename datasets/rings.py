"""Four concentric circles with Gaussian noise."""

import math
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Count, Data, Grid, Log, Mixture, Rng, dataset, exact_data


@dataset(source="Grathwohl et al., FFJORD, 2019", version=1)
def rings(
    rng: Rng,
    *,
    n_train: Count = 8192,
    n_valid: Count = 4096,
    n_test: Count = 8192,
    sigma: Annotated[float, Log(0.05, 0.15)] = 0.08,
) -> Data:
    """p(x) = ¼ Σₘ exp(-(‖x‖² + rₘ²) / 2σ²) I₀(‖x‖ rₘ / σ²) / 2πσ², with r = ¾, 1½, 2¼, 3 and σ = `sigma`.

    Each part is a uniform law on a circle convolved with N(0, σ²I), which integrates to a Bessel function.
    """
    radii = 0.75 * torch.arange(1, 5, dtype=torch.float64)

    def log_parts(x: Tensor) -> Tensor:
        r, radius = radii.to(x), x.norm(dim=-1, keepdim=True)
        # i0e(z) = exp(-z) I₀(z) does not overflow; its exponential completes the square
        bessel = torch.special.i0e(radius * r / sigma**2).log()
        log_p: Tensor = bessel - (radius - r).square() / (2 * sigma**2) - math.log(2 * math.pi * sigma**2)
        return log_p

    def draw(part: Tensor, rng: Rng) -> Tensor:
        angle = 2 * math.pi * rng.uniform(part.shape)
        circle = torch.stack([angle.cos(), angle.sin()], -1)
        return radii.to(angle)[part][..., None] * circle + sigma * rng.normal_like(circle)

    return exact_data(
        "rings",
        rng,
        (n_train, n_valid, n_test),
        Mixture(log_parts, draw, torch.stack([radii, torch.zeros(4)], -1), sigma),
        grid=Grid((-4.0, -4.0), (4.0, 4.0)),
        local_scale=sigma,
    )
