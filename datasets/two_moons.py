"""Two interleaved half circles with Gaussian noise."""

import math
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Count, Data, Grid, Log, Rng, dataset, exact_data, noisy_curves


def half_circle(u: Tensor, part: Tensor) -> Tensor:
    """Arm 0 is the upper half of the unit circle about (0, 0), arm 1 the lower half of the one about (1, ½)."""
    angle, sign = math.pi * u, 1 - 2 * part
    return torch.stack([part + sign * angle.cos(), part / 2 + sign * angle.sin()], -1)


@dataset(source="Pedregosa et al., scikit-learn (make_moons), 2011; not standardised", version=1)
def two_moons(
    rng: Rng,
    *,
    n_train: Count = 8192,
    n_valid: Count = 4096,
    n_test: Count = 8192,
    sigma: Annotated[float, Log(0.05, 0.3)] = 0.1,
) -> Data:
    """p(x) = ½ Σₘ ∫₀¹ N(x; c(u, m), σ²I) du, c two half circles of radius 1, with σ = `sigma` in units of x.

    The position along an arm is drawn uniformly for each example; scikit-learn's lies on a lattice.
    """
    return exact_data(
        "two_moons",
        rng,
        (n_train, n_valid, n_test),
        noisy_curves(half_circle, 2, sigma),
        grid=Grid((-2.5, -2.75), (3.5, 3.25)),
        local_scale=sigma,
    )
