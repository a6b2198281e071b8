"""Chains that share their noise with the data: what they leave out is noise, not gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.core.derivatives import per_example, score
from bench.core.noising import shared_noise
from bench.core.rng import Rng
from bench.plugins import builders
from bench.samplers.langevin import exponential_langevin

NAME = "time_dependent_diffusion_contrastive_divergence_coupled"
PLAIN = "time_dependent_diffusion_contrastive_divergence"
RECOVERY = "diffusion_recovery_likelihood"


def _loss(energy: object, x: Tensor, name: str = NAME, seed: int = 0, **hyper: Any) -> Tensor:
    objective = builders.objective(name, x, Rng(seed), local_scale=0.1, **hyper)
    return objective(energy, x, Rng(seed))  # type: ignore[arg-type, no-any-return]


def test_at_the_truth_about_one_point_the_chain_ends_on_the_data() -> None:
    x = torch.full((64, 3), 0.7, dtype=torch.float64)

    def truth(u: Tensor, sigma: Tensor) -> Tensor:
        return (u - 0.7).square().sum(-1) / (2 * sigma.square())

    for steps in (1, 5):
        for relaxation in (1.0, 0.3):
            assert float(_loss(truth, x, steps=steps, relaxation=relaxation).abs().max()) < 1e-12
    assert float(_loss(truth, x, PLAIN, steps=5).abs().max()) > 0.1


def _curved(theta: Tensor) -> object:
    def energy(u: Tensor, sigma: Tensor) -> Tensor:
        width = per_example(1 + sigma.square(), u)
        return (u.square() / (2 * width) + theta[0] * (u + theta[1]).cos()).sum(-1)

    return energy


def test_one_step_through_fine_levels_is_denoising_score_matching() -> None:
    x, theta = Rng(1).normal((4096, 2), torch.float64), torch.tensor([0.4, 0.3], dtype=torch.float64)
    theta.requires_grad_()
    range_ = {"sigma_min": 0.5, "sigma_max": 0.502, "sigma_units": "data"}
    loss = _loss(_curved(theta), x, steps=1, relaxation=1.0, levels=1, **range_).sum()
    (gradient,) = torch.autograd.grad(loss, theta)

    rng = Rng(0)
    rng.integers(1, (len(x),))  # the level
    sigma, s = 0.5, (0.502**2 - 0.5**2) ** 0.5
    y = x + sigma * rng.normal_like(x) + s * rng.normal_like(x)
    levels = x.new_full((len(x),), sigma)
    error = -score(lambda u: _curved(theta)(u, levels), y, create_graph=True) - (y - x) / sigma**2  # type: ignore[operator]
    v = 1 / (1 / s**2 + 1 / sigma**2)
    (expected,) = torch.autograd.grad(0.5 * v * error.square().sum(), theta)
    assert float((gradient - expected).norm()) < 0.05 * float(expected.norm())


def _gradients(name: str, theta: Tensor, x: Tensor, draws: int, **hyper: Any) -> Tensor:
    losses = (
        _loss(_curved(theta), x, name, seed, sigma_min=0.5, sigma_max=1.0, sigma_units="data", **hyper)
        for seed in range(draws)
    )
    return torch.stack([torch.autograd.grad(loss.mean(), theta)[0] for loss in losses])


def test_noise_that_adds_up_to_an_innovation_is_white_and_independent() -> None:
    n, weights = 100_000, [0.2, -0.7, 1.0]
    eta = Rng(1).normal((n, 1), torch.float64)
    parts = shared_noise(eta, weights, Rng(2))
    total = sum(w * z for w, z in zip(weights, parts, strict=True))
    torch.testing.assert_close(total, math.hypot(*weights) * eta)
    covariance = torch.cov(torch.cat(parts, 1).T)
    assert float((covariance - torch.eye(3)).abs().max()) < 4.5 * (2 / n) ** 0.5
    correlation = float((parts[2] * eta).mean())
    assert abs(correlation - 1 / math.hypot(*weights)) < 4.5 * (2 / n) ** 0.5


@pytest.mark.parametrize(
    ("name", "shared", "reference", "own"),
    [(NAME, {"relaxation": 0.05}, PLAIN, {}), (RECOVERY, {"noise": "shared"}, RECOVERY, {"noise": "own"})],
)
def test_the_shared_noise_leaves_the_expected_gradient_and_takes_its_variance(
    name: str, shared: dict[str, Any], reference: str, own: dict[str, Any]
) -> None:
    x = 0.05 * Rng(1).normal((200, 2), torch.float64)
    theta = torch.tensor([0.4, 0.3], dtype=torch.float64).requires_grad_()
    coupled, plain = (
        _gradients(which, theta, x, 24, levels=2, steps=40, **hyper)
        for which, hyper in ((name, shared), (reference, own))
    )
    error = ((coupled.var(0) + plain.var(0)) / 24).sqrt()
    assert bool(((coupled.mean(0) - plain.mean(0)).abs() < 4 * error).all())
    assert bool((coupled.std(0) < 0.7 * plain.std(0)).all())


def test_the_exponential_integrator_keeps_its_gaussian_at_every_share_and_a_wider_one_at_the_stated_variance() -> None:
    n, v = 200_000, 0.3
    for share, width in ((1.0, v), (0.4, v), (0.4, 2 * v), (1.0, 2 * v)):
        start = width**0.5 * Rng(1).normal((n, 1), torch.float64)
        variance = torch.tensor(v)

        def energy(x: Tensor, width: float = width) -> Tensor:
            return (x - 2).square().sum(-1) / (2 * width)

        end = exponential_langevin(energy, start + 2, Rng(2), shares=[share] * 12, variance=variance)
        expected = width * (2 - share) / (2 - share * v / width)
        assert abs(float(end.mean()) - 2) < 4.5 * (width / n) ** 0.5
        assert abs(float(end.var()) / expected - 1) < 4.5 * (2 / n) ** 0.5
