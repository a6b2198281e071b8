"""The sum of the intervals' divergences, as levels get finer: denoising score matching of an energy at every level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from bench.api import Rng, noise_levels
from bench.plugins import builders

X = torch.linspace(-9, 9, 601, dtype=torch.float64)
STEP = float(X[1] - X[0])
MEANS, WEIGHTS, SPREAD = (-1.3, 1.0), (0.6, 0.4), 0.4
LOW, HIGH = 0.3, 2.0
THETA = torch.tensor([0.9, 0.4, 0.8], dtype=torch.float64)


def energy(x: Tensor, sigma: Tensor | float, theta: Tensor) -> Tensor:
    """One energy of x and σ, with parameters that all levels share."""
    a, b, c = theta
    wide = 1 + torch.as_tensor(sigma, dtype=torch.float64) ** 2
    return 0.5 * a * x.square() / wide + b.exp() * torch.sin(c * x + 0.4 * wide) / wide


def log_density(x: Tensor, sigma: Tensor | float) -> Tensor:
    variance = torch.as_tensor(SPREAD**2 + sigma**2, dtype=torch.float64)
    parts = [
        math.log(w) - 0.5 * (x - m) ** 2 / variance - 0.5 * (2 * math.pi * variance).log()
        for m, w in zip(MEANS, WEIGHTS, strict=True)
    ]
    return torch.stack(parts).logsumexp(0)


def sum_of_divergences(levels: int) -> Tensor:
    """∇θ Σₖ [KL(pₖ‖qₖ) - KL(pₖ₊₁‖Kₖqₖ)]."""
    theta = THETA.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for low, high in pairwise(noise_levels(LOW, HIGH, levels + 1, X).tolist()):
        log_q = (-energy(X, low, theta)).log_softmax(0)
        noised = (log_q - (X[:, None] - X[None]).square() / (2 * (high**2 - low**2))).logsumexp(1)
        total = total - STEP * ((log_density(X, low).exp() * log_q).sum() - (log_density(X, high).exp() * noised).sum())
    return torch.autograd.grad(total, theta)[0]


def fisher_form(count: int = 400) -> Tensor:
    """∇θ ½∫ E‖∇log p_σ - s(·, σ)‖² dσ², by the midpoint rule in ln σ."""
    theta = THETA.clone().requires_grad_()
    width = math.log(HIGH / LOW) / count
    total = torch.zeros((), dtype=torch.float64)
    for k in range(count):
        sigma = LOW * math.exp((k + 0.5) * width)
        x = X.clone().requires_grad_()
        (true,) = torch.autograd.grad(log_density(x, sigma).sum(), x)
        (slope,) = torch.autograd.grad(energy(x, sigma, theta).sum(), x, create_graph=True)
        error = STEP * (log_density(X, sigma).exp() * (true + slope).square()).sum()
        total = total + 0.5 * error * 2 * sigma**2 * width
    return torch.autograd.grad(total, theta)[0]


def gap(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def test_fine_levels_tend_to_score_matching_weighted_by_the_likelihood() -> None:
    exact = fisher_form()
    gaps = [gap(sum_of_divergences(levels), exact) for levels in (3, 6, 12, 24, 48)]
    assert gaps[0] > 0.1
    assert gaps[-1] < 0.1
    # of the first order in the width of an interval
    for coarse, fine in pairwise(gaps):
        assert 1.5 < coarse / fine < 2.6, gaps


class Nodes(Rng):
    """The nodes of a quadrature rule in place of the two draws of a level objective."""

    def __init__(self, draws: Sequence[Tensor]) -> None:
        super().__init__(0)
        self.level, self.noise = draws

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return self.level.reshape(tuple(shape))

    def normal_like(self, x: Tensor) -> Tensor:
        return self.noise.reshape(x.shape)


def test_denoising_at_every_level_has_the_weight_of_the_likelihood() -> None:
    beta = torch.arange(1, 24, dtype=torch.float64).sqrt()
    z, vectors = torch.linalg.eigh(torch.diag(beta, 1) + torch.diag(beta, -1))
    u = (torch.arange(60, dtype=torch.float64) + 0.5) / 60
    x = X[::4]
    grids = torch.meshgrid(x, u, z, indexing="ij")
    law = 4 * STEP * log_density(x, 0.0).exp()
    weight = torch.einsum("i,j,k->ijk", law, torch.full_like(u, 1 / 60), vectors[0].square()).flatten()
    data, level, noise = (g.reshape(-1, 1) for g in grids)
    theta = THETA.clone().requires_grad_()
    objective = builders.objective(
        "multiscale_denoising_score_matching", data[:4], Rng(0), local_scale=1.0, sigma_min=LOW, sigma_max=HIGH
    )
    loss = objective(lambda v, s: energy(v.squeeze(-1), s, theta), data, Nodes((level, noise)))
    (found,) = torch.autograd.grad((weight * loss).sum(), theta)
    assert gap(2 * math.log(HIGH / LOW) * found, fisher_form()) < 1e-3
