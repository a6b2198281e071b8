"""Identities behind the objectives of a noise-conditional energy, by quadrature in one dimension."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from bench.api import Rng, noise_interval, noise_levels
from bench.audit.toy_problem import Law
from bench.common.errors import UsageError
from bench.plugins import builders

X = torch.linspace(-12, 12, 2401, dtype=torch.float64)
STEP = float(X[1] - X[0])
LAW = Law((-1.5, 1.0), (0.4, 0.4), (0.3, 0.7))


def law(x: Tensor, sigma: Tensor | float) -> Tensor:
    """log density of two Gaussians convolved with N(0, σ²)."""
    return LAW.log_density(x, sigma**2)


def noise(log_density: Tensor, gap: float) -> Tensor:
    """The logarithm of a density on the grid, convolved with N(0, gap²)."""
    kernel = (-0.5 * ((X[:, None] - X[None]) / gap) ** 2).exp() / (gap * math.sqrt(2 * math.pi))
    return (kernel @ log_density.exp() * STEP).clamp(min=1e-300).log()


def kl(log_p: Tensor, log_q: Tensor) -> float:
    return float((log_p.exp() * (log_p - log_q)).sum() * STEP)


def model(level: int) -> Tensor:
    """A wrong law for each level, normalised on the grid."""
    energy = 0.1 * X**4 - 0.5 * math.cos(level) * X**2 + 0.3 * (1 + level) * (X + level).sin()
    return -energy - ((-energy).exp().sum() * STEP).log()


def test_an_interval_anchored_anew_has_a_divergence_and_the_plain_contrast_of_levels_has_not() -> None:
    sigmas = noise_levels(0.1, 2.0, 6, X).tolist()
    anchored, plain = [], []
    for k, (low, high) in enumerate(pairwise(sigmas)):
        gap = math.sqrt(high**2 - low**2)
        p_here, p_next = law(X, low), law(X, high)
        anchored.append(kl(p_here, model(k)) - kl(p_next, noise(model(k), gap)))
        plain.append(kl(p_here, model(k)) - kl(p_next, model(k + 1)))
    assert min(anchored) > 0
    assert min(plain) < 0


def test_the_derivative_in_the_noise_level_is_an_expectation_over_the_noise() -> None:
    sigma = torch.tensor(0.7, dtype=torch.float64)
    at = torch.tensor([-1.0, 0.2, 1.4], dtype=torch.float64)
    (slopes,) = torch.autograd.functional.jacobian(lambda s: -law(at, s), (sigma,))
    z = (at[:, None] - X[None]) / sigma
    weight = (law(X, 0.0)[None] - 0.5 * z.square()).softmax(-1)  # p(x|y) on the grid
    expected = ((1 - z.square()) * weight).sum(-1)
    assert torch.allclose(sigma * slopes, expected, atol=1e-8)


SEEDS, DRAWS = 20, 4000


@pytest.mark.parametrize(
    ("ref", "tilt"),
    [
        ("dual_score_matching[sigma_min=0.3,sigma_max=2.0]", True),
        ("diffusive_classification[sigma_min=0.3]", True),
        ("multiscale_denoising_score_matching[sigma_min=0.3]", False),
    ],
)
def test_who_compares_noise_levels_sees_a_constant_that_varies_with_the_level(ref: str, tilt: bool) -> None:
    """∂loss/∂a of E + a ln σ at the truth + ½ ln σ: scores cannot see it, a comparison of levels must push it back."""
    slopes = []
    for seed in range(SEEDS):
        rng = Rng(seed, "objective")
        x = LAW.draw(DRAWS, Rng([seed], "data"))[0].unsqueeze(-1)
        a = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

        def energy(y: Tensor, sigma: Tensor, a: Tensor = a) -> Tensor:
            return a * sigma.log() - law(y.squeeze(-1), sigma)

        loss = builders.objective(ref, x, rng)(energy, x, rng).mean()
        (slope,) = torch.autograd.grad(loss, a, allow_unused=True, materialize_grads=True)
        slopes.append(float(slope))
    values = torch.tensor(slopes, dtype=torch.float64)
    if tilt:
        assert float(values.mean() / (values.std() / SEEDS**0.5)) > 4
    else:
        assert float(values.abs().max()) < 1e-9


def test_levels_rise_and_intervals_join_them() -> None:
    x = torch.zeros(64, 2, dtype=torch.float64)
    sigmas = noise_levels(0.1, 3.0, 5, x)
    assert torch.allclose(sigmas[1:] / sigmas[:-1], torch.full((4,), 30**0.25, dtype=torch.float64))
    here = noise_interval(x, Rng(0, "objective"), sigma_min=0.1, sigma_max=3.0, levels=4)
    ends = (here.sigma.square() + here.gap.square()).sqrt()
    assert set(here.sigma.tolist()) <= set(sigmas[:-1].tolist())
    assert all(float((sigmas[1:] - end).abs().min()) < 1e-12 for end in ends)
    with pytest.raises(UsageError, match="sigma_max"):
        noise_levels(1.0, 0.5, 3, x)
