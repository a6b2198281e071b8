"""The floor of an objective of noised data, against a closed form and against the law of draws."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.api import Data, Grid, Rng
from bench.evaluation.smoothing_floor import smoothing_floor
from bench.plugins import builders

S = 0.3


def gaussian(dim: int) -> Data:
    def log_density(x: Tensor) -> Tensor:
        return -x.square().sum(-1) / (2 * S**2) - dim / 2 * math.log(2 * math.pi * S**2)

    x = S * Rng(0, "data").normal((10, dim))
    grid = Grid((-4.0,) * dim, (4.0,) * dim)
    return Data("normal", train=x, valid=x, test=x, log_density=log_density, grid=grid)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0])
def test_of_a_gaussian_it_is_the_divergence_of_two_gaussians(dim: int, sigma: float) -> None:
    ratio = S**2 / (S**2 + sigma**2)
    exact = dim / 2 * (ratio - 1 - math.log(ratio))
    assert smoothing_floor(gaussian(dim), sigma) == pytest.approx(exact, rel=1e-3)


def test_it_is_what_the_kl_metric_says_of_the_smoothed_law() -> None:
    data, sigma = builders.dataset("eight_gaussians", Rng(0, "data")), 0.1
    wider = builders.dataset(f"eight_gaussians[sigma={math.hypot(0.15, sigma)}]", Rng(0, "data"))
    assert wider.log_density is not None
    log_density = wider.log_density
    kl = builders.metric("kl")(lambda x: -log_density(x), data.test[:0], data, Rng(0)).value
    assert smoothing_floor(data, sigma) == pytest.approx(kl, rel=1e-3)


def test_without_a_density_or_below_the_finest_grid_there_is_none() -> None:
    data = gaussian(2)
    assert smoothing_floor(replace(data, log_density=None), 0.1) is None
    assert smoothing_floor(replace(data, grid=None), 0.1) is None
    assert smoothing_floor(data, 1e-3) is None
    assert torch.isfinite(torch.tensor(smoothing_floor(data, 0.02) or math.nan))
