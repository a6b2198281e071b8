"""A data set: examples to train, validate and test on, and what is known of their law."""

import math
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Count, Data, Grid, Log, Rng, dataset, exact_data, noisy_curves


def circle(u: Tensor, part: Tensor) -> Tensor:
    """The unit circle, at the angle 2πu; `part` would tell several curves apart."""
    angle = 2 * math.pi * u + 0 * part
    return torch.stack([angle.cos(), angle.sin()], -1)


# `source` says where the law or the examples are from. Raise `version` whenever the numbers change. A data set that
# reads files declares them, files=("points.csv",), relative to this file: their content is part of a run's identity.
@dataset(source="my paper, or where the files are from", version=1)
def my_dataset(
    rng: Rng,
    *,
    n_train: Count = 8192,
    n_valid: Count = 4096,
    n_test: Count = 8192,
    sigma: Annotated[float, Log(0.05, 0.3)] = 0.1,
) -> Data:
    """p(x) = ∫₀¹ N(x; c(u), σ²I) du, c the unit circle, with σ = `sigma` in units of x.

    Its density is known, so the KL divergence of a model is exact. Where it is not, return
    `Data(name, train, valid, test)` with float32 tensors (n, *event), or (S, n, *event) for a stack of S seeds: draw
    them by `rng.batch_shape(n)`, never by a seed of your own.
    """
    return exact_data(
        "my_dataset",
        rng,
        (n_train, n_valid, n_test),
        noisy_curves(circle, 1, sigma),
        grid=Grid((-3.0, -3.0), (3.0, 3.0)),  # holds the law up to a mass below 1e-6
        local_scale=sigma,  # the standard deviation in the narrowest local direction: sets the Langevin steps
    )
