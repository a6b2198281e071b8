"""Dual score matching with a noise level a coordinate, on two Gaussians of which noised energies are exact."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import Rng
from bench.plugins import builders

NAME = "anisotropic_dual_score_matching"
SEEDS, DRAWS = 20, 4_000
CENTRES = torch.tensor([[-2.0, 0.0], [2.0, 1.0]], dtype=torch.float64)
DEVIATION, WEIGHT = 0.5, 0.3


def draw(rng: Rng) -> Tensor:
    left = rng.uniform((SEEDS, DRAWS), torch.float64) < WEIGHT
    return torch.where(left.unsqueeze(-1), *CENTRES) + DEVIATION * rng.normal((SEEDS, DRAWS, 2), torch.float64)


def energy(x: Tensor, levels: Tensor, odds: Tensor) -> Tensor:
    """-log of the law under noise of the levels, (S, n, 2); `odds` of the left part, (S, 1)."""
    variance = DEVIATION**2 + levels.square()
    log_weights = torch.nn.functional.logsigmoid(odds), torch.nn.functional.logsigmoid(-odds)
    parts = [
        log_weight - 0.5 * ((x - centre).square() / variance + (2 * math.pi * variance).log()).sum(-1)
        for log_weight, centre in zip(log_weights, CENTRES, strict=True)
    ]
    return -torch.logaddexp(*parts)


def slopes(log_odds: float, *, one_level: bool = False) -> Tensor:
    """∂loss/∂odds at each seed; with `one_level`, of an energy that knows the levels' geometric mean alone."""
    rng, x = Rng(range(SEEDS)), draw(Rng(range(SEEDS), "data"))
    odds = torch.full((SEEDS, 1), log_odds, dtype=torch.float64, requires_grad=True)

    def told(y: Tensor, sigma: Tensor) -> Tensor:
        known = sigma.log().mean(-1, keepdim=True).exp().expand_as(sigma) if one_level else sigma
        return energy(y, known, odds)

    objective = builders.objective(NAME, x, rng, local_scale=1.0, sigma_min=0.3, sigma_max=4.0, shared=0.0)
    (found,) = torch.autograd.grad(objective(told, x, rng).mean(-1).sum(), odds)
    return found.squeeze(-1)


def in_standard_errors(values: Tensor) -> float:
    return float(values.mean() / (values.std() / SEEDS**0.5))


def test_the_weights_of_far_modes_are_learned_and_only_by_who_is_told_all_levels() -> None:
    truth = math.log(WEIGHT / (1 - WEIGHT))
    assert abs(in_standard_errors(slopes(truth))) < 4
    assert in_standard_errors(slopes(truth - 0.3)) < -4
    assert in_standard_errors(slopes(truth + 0.3)) > 4
    assert abs(in_standard_errors(slopes(truth, one_level=True))) > 4


def test_a_share_of_examples_has_one_level_on_all_axes() -> None:
    x, seen = torch.zeros(1_000, 3, dtype=torch.float64), []

    def spy(y: Tensor, sigma: Tensor) -> Tensor:
        seen.append(sigma.detach())
        return (y.square() / sigma).sum(-1)

    rng = Rng(0)
    builders.objective(NAME, x, rng, local_scale=1.0, sigma_min=0.3, sigma_max=4.0, shared=0.25)(spy, x, rng)
    (sigma,) = seen
    assert float(sigma.min()) >= 0.3
    assert float(sigma.max()) <= 4.0
    share = float((sigma == sigma[:, :1]).all(-1).double().mean())
    assert abs(share - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(x))
