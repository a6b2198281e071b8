"""The dark squares of a four by four board, with slightly blurred edges."""

import math
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Count, Data, Grid, Log, Mixture, Rng, dataset, exact_data


@dataset(source="Grathwohl et al., FFJORD, 2019 (there with sharp edges)", version=2)
def checkerboard(
    rng: Rng,
    *,
    n_train: Count = 8192,
    n_valid: Count = 4096,
    n_test: Count = 8192,
    sigma: Annotated[float, Log(0.02, 0.15)] = 0.05,
) -> Data:
    """p(x) = ⅛ Σₘ Πᵢ [Φ((xᵢ - cₘᵢ + ½)/σ) - Φ((xᵢ - cₘᵢ - ½)/σ)], c the centres of eight unit squares in [-2, 2]².

    A uniform law on the squares convolved with N(0, σ²I), with σ = `sigma` in units of x. The blur makes the density
    positive everywhere and its score a function. `local_scale` is (E‖s‖²)^-½ of a square, s its score: at an edge the
    data are narrower than a side's variance, 1/12 + σ², and Langevin steps of that size leave a model that has learned
    the edges.
    """
    lattice = torch.arange(4, dtype=torch.float64) - 1.5
    centres = torch.cartesian_prod(lattice, lattice)
    centres = centres[centres.sum(1) % 2 == 1]

    def log_parts(x: Tensor) -> Tensor:
        # even in the offset; with a negative one neither Φ is near 1, and log Φ keeps both tails
        offset = -(x[:, None] - centres.to(x)).abs()
        upper = torch.special.log_ndtr((offset + 0.5) / sigma)
        lower = torch.special.log_ndtr((offset - 0.5) / sigma)
        sides: Tensor = upper + torch.log1p(-(lower - upper).exp())
        return sides.sum(-1)

    def draw(part: Tensor, rng: Rng) -> Tensor:
        square = rng.uniform((*part.shape, 2)) - 0.5
        return centres.to(square)[part] + square + sigma * rng.normal_like(square)

    return exact_data(
        "checkerboard",
        rng,
        (n_train, n_valid, n_test),
        Mixture(log_parts, draw, centres, sigma),
        grid=Grid((-4.0, -4.0), (4.0, 4.0)),
        local_scale=_score_scale(sigma),
    )


def _score_scale(sigma: float) -> float:
    """(2 ∫ p'²/p)^-½ of one side, by the midpoint rule: a blurred edge falls as a normal density does."""
    cells, half = 20_000, 0.5 + 8 * sigma
    t = ((torch.arange(cells, dtype=torch.float64) + 0.5) / cells * 2 - 1) * half
    near, far = (t + 0.5) / sigma, (t - 0.5) / sigma
    density = torch.special.ndtr(near) - torch.special.ndtr(far)
    slope = (torch.exp(-near.square() / 2) - torch.exp(-far.square() / 2)) / (sigma * math.sqrt(2 * math.pi))
    kept = density > 1e-12
    return float((2 * (slope[kept].square() / density[kept]).sum() * 2 * half / cells).rsqrt())
