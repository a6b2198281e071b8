"""Twenty-five Gaussians on a square lattice."""

from typing import Annotated

import torch

from bench.api import Count, Data, Grid, Log, Rng, dataset, exact_data, noisy_points


@dataset(source="Dumoulin et al., Adversarially learned inference, 2017 (there at another scale)", version=1)
def twenty_five_gaussians(
    rng: Rng,
    *,
    n_train: Count = 8192,
    n_valid: Count = 4096,
    n_test: Count = 8192,
    sigma: Annotated[float, Log(0.05, 0.3)] = 0.1,
) -> Data:
    """p(x) = 1/25 Σᵢⱼ N(x; (i, j), σ²I), i and j in {-2, ..., 2}, with σ = `sigma` in units of x."""
    steps = torch.arange(-2, 3, dtype=torch.float64)
    centres = torch.cartesian_prod(steps, steps)

    return exact_data(
        "twenty_five_gaussians",
        rng,
        (n_train, n_valid, n_test),
        noisy_points(centres, sigma),
        grid=Grid((-4.0, -4.0), (4.0, 4.0)),
        local_scale=sigma,
    )
