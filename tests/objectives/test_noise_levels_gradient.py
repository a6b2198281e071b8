"""The expected gradient of the level objectives against that of their divergence, by quadrature in one dimension."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.api import Rng, noise_levels
from bench.audit.toy_problem import Law
from bench.plugins import builders

X = torch.linspace(-9, 9, 1801, dtype=torch.float64)
STEP = float(X[1] - X[0])
LAW = Law((-1.3, 1.0), (0.4, 0.4), (0.6, 0.4))
THETA = torch.tensor([[0.9, 0.7, 1.3], [0.6, 0.2, 1.0]], dtype=torch.float64)  # one row a level
LEVELS, LOW = 2, 0.3
SEEDS, DRAWS = 20, 2_000


def energy(x: Tensor, theta: Tensor) -> Tensor:
    """Asymmetric and not linear in its parameters; theta (..., 3) broadcasts against x (..., 1)."""
    a, b, c = theta.unbind(-1)
    return 0.5 * (a * x).square() + b.exp() * torch.sin(c * x + 0.4)


def scaled(alpha: float) -> Law:
    """The law of α times the data."""
    centres, deviations = (tuple(alpha * v for v in values) for values in (LAW.centres, LAW.deviations))
    return Law(centres, deviations, LAW.weights)


def divergence(theta: Tensor, low: float, high: float, kernel: str) -> Tensor:
    """KL(p_k‖q_k) - KL(p_{k+1}‖K q_k), in nats."""
    log_q = (-energy(X, theta)).log_softmax(0) - math.log(STEP)
    alphas = [math.sqrt(1 - sigma**2) if kernel == "vp" else 1.0 for sigma in (low, high)]
    decay = alphas[1] / alphas[0]
    gap2 = high**2 - (decay * low) ** 2
    way = -((X[:, None] - decay * X[None]) ** 2) / (2 * gap2) - 0.5 * math.log(2 * math.pi * gap2) + math.log(STEP)
    p_low, p_high = (
        scaled(alpha).log_density(X, sigma**2).exp() for sigma, alpha in zip((low, high), alphas, strict=True)
    )
    log_noised = (way + log_q).logsumexp(1)
    return STEP * ((p_low * (p_low.log() - log_q)).sum() - (p_high * (p_high.log() - log_noised)).sum())


@pytest.mark.parametrize(
    ("name", "hyper", "power", "kernel", "high"),
    [
        ("time_dependent_diffusion_contrastive_divergence", {"steps": 40, "step_size": 0.1}, 0, "ve", 1.2),
        ("time_dependent_diffusion_contrastive_divergence", {"steps": 40, "step_size": 0.1}, 0, "vp", 0.9),
        ("diffusion_recovery_likelihood", {"steps": 800, "step": 0.15}, 1, "", 1.2),
    ],
)
def test_long_posterior_chains_give_the_gradient_of_each_intervals_divergence(
    name: str, hyper: dict[str, float], power: int, kernel: str, high: float
) -> None:
    rng, x = Rng(range(SEEDS)), LAW.draw(DRAWS, Rng(range(SEEDS), "data")).unsqueeze(-1)
    theta = THETA.expand(SEEDS, -1, -1).clone().requires_grad_()
    sigmas = noise_levels(LOW, high, LEVELS + 1, x)
    seed = torch.arange(SEEDS).unsqueeze(-1)

    def model(y: Tensor, sigma: Tensor) -> Tensor:
        return energy(y.squeeze(-1), theta[seed, (sigma > sigmas[0] * 1.01).long()])

    given: dict[str, float | str] = {"sigma_min": LOW, "sigma_max": high, "levels": LEVELS, **hyper}
    if kernel:
        given["kernel"] = kernel
    loss = builders.objective(name, x, Rng(list(range(SEEDS))), local_scale=1.0, **given)(model, x, rng)
    (found,) = torch.autograd.grad(loss.mean(-1).sum(), theta)
    mean, error = found.mean(0), found.std(0) / SEEDS**0.5
    for k in range(LEVELS):
        at = THETA[k].clone().requires_grad_()
        value = divergence(at, float(sigmas[k]), float(sigmas[k + 1]), kernel)
        (gradient,) = torch.autograd.grad(value, at)
        expected = (LOW / float(sigmas[k])) ** power * gradient / LEVELS
        assert float(value.detach()) > 0
        assert ((mean[k] - expected).abs() < 4 * error[k]).all()
        assert float((mean[k] / error[k]).abs().max()) > 10
