"""Every sampler keeps its stationary law, on a law that is not symmetric, and the unadjusted one to its known bias."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.api import Rng, hmc, langevin, mala, posterior_energy, score

CHAINS = 60_000
SHAPE = 2
Sampler = Callable[..., tuple[Tensor, Tensor]]


def skewed_energy(y: Tensor) -> Tensor:
    return SHAPE * (y.exp() - y).sum(-1)


def skewed_draws(n: int, rng: Rng) -> Tensor:
    """The logarithm of a Gamma(2) variable of mean 1, exactly."""
    waiting = -(1 - rng.uniform((n, 1, SHAPE), torch.float64)).log()
    return waiting.mean(-1).log()


def gaussian_energy(variance: float) -> Callable[[Tensor], Tensor]:
    return lambda x: 0.5 * x.square().sum(-1) / variance


def off(values: Tensor, truth: float) -> float:
    """How far the mean is from the truth, in standard errors."""
    return abs(float(values.mean()) - truth) / (float(values.std()) / values.numel() ** 0.5)


def moved(before: Tensor, after: Tensor) -> float:
    """The largest change of a mean that the transitions made, in standard errors of the paired differences."""
    views: list[Callable[[Tensor], Tensor]] = [torch.sin, torch.exp, torch.square, lambda x: (x > 0.3).double()]
    return max(off(view(after) - view(before), 0.0) for view in views)


def test_the_skewed_draws_are_exact() -> None:
    y = skewed_draws(CHAINS, Rng(0, "data"))
    digamma, trigamma = (float(torch.special.polygamma(k, torch.tensor(2.0))) for k in (0, 1))
    mean = digamma - math.log(SHAPE)
    assert off(y, mean) < 4
    assert off((y - mean).square(), trigamma) < 4
    assert off(y.exp(), 1.0) < 4


@pytest.mark.parametrize("step_size", [0.05, 0.5])
@pytest.mark.parametrize("sampler", [mala, hmc])
def test_an_adjusted_sampler_keeps_a_skewed_law(sampler: Sampler, step_size: float) -> None:
    y = skewed_draws(CHAINS, Rng(0, "data"))
    end, acceptance = sampler(skewed_energy, y, Rng(0), steps=4, step_size=step_size)
    assert moved(y, end) < 4
    assert 0.3 < acceptance.mean() < 1
    assert float((end - y).square().mean()) > 0.01


def test_the_same_test_finds_a_drift_that_is_off_by_two_or_reversed() -> None:
    y, rng = skewed_draws(CHAINS, Rng(0, "data")), Rng(0)
    for factor in (1.0, -0.5):
        wrong = y + factor * 0.05 * score(skewed_energy, y) + 0.05**0.5 * rng.normal_like(y)
        assert moved(y, wrong) > 8
    assert moved(y, langevin(skewed_energy, y, rng, steps=1, step_size=0.001)) < 4


@pytest.mark.parametrize("sampler", [mala, hmc])
def test_an_adjusted_sampler_finds_the_law_from_elsewhere(sampler: Sampler) -> None:
    rng = Rng(0)
    end, _ = sampler(skewed_energy, rng.normal((20_000, 1), torch.float64), rng, steps=40, step_size=0.3)
    truth = float(torch.special.digamma(torch.tensor(2.0))) - math.log(SHAPE)
    assert off(end, truth) < 4
    assert off(end.exp(), 1.0) < 4


@pytest.mark.parametrize("variance", [0.25, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("relative_step", [0.1, 1.0])
def test_unadjusted_langevin_is_stationary_at_its_known_variance(
    variance: float, temperature: float, relative_step: float
) -> None:
    epsilon = relative_step * variance
    known = temperature * variance / (1 - epsilon / (4 * variance))
    rng = Rng(0)
    x = known**0.5 * rng.normal((CHAINS, 1), torch.float64)
    end = langevin(gaussian_energy(variance), x, rng, steps=6, step_size=epsilon, temperature=temperature)
    assert off(end, 0.0) < 4
    assert off(end.square(), known) < 4
    # neither twice the drift nor the unbiased variance would pass where the bias is large
    wrong = x
    for _ in range(6):
        drift = epsilon * score(gaussian_energy(variance), wrong)
        wrong = wrong + drift + (temperature * epsilon) ** 0.5 * rng.normal_like(x)
    assert off(wrong.square(), known) > 8
    if relative_step == 1.0:
        assert off(end.square(), temperature * variance) > 8


def test_the_posterior_energy_is_the_posterior_in_closed_form() -> None:
    rng, alpha, sigma, prior = Rng(0), 0.8, 0.6, 0.5
    precision = 1 / prior + alpha**2 / sigma**2
    y = rng.normal((30_000, 2), torch.float64)
    centre = alpha * y / sigma**2 / precision
    posterior = posterior_energy(gaussian_energy(prior), y, rng, sigma=sigma, alpha=alpha)
    x = rng.normal_like(y)
    excess = posterior(x) - 0.5 * precision * (x - centre).square().sum(-1)
    other = posterior(x + 1) - 0.5 * precision * (x + 1 - centre).square().sum(-1)
    assert torch.allclose(excess, other)
    assert torch.allclose(score(posterior, x), precision * (centre - x))
    end = mala(posterior, x, rng, steps=30, step_size=1 / precision).x
    assert off(end - centre, 0.0) < 4
    assert off((end - centre).square(), 1 / precision) < 4


def test_the_posterior_energy_takes_one_noise_a_chain_and_a_condition() -> None:
    rng = Rng([0, 1])
    y = rng.normal((2, 5, 3), torch.float64)
    sigma, alpha = 0.5 + rng.uniform((2, 5), torch.float64), 0.5 + rng.uniform((2, 5), torch.float64)
    posterior = posterior_energy(lambda x, s: s * x.square().sum(-1), y, rng, sigma=sigma, alpha=alpha)
    x = rng.normal_like(y)
    expected = sigma * x[1, 2].square().sum()
    pull = (y[1, 2] - alpha[1, 2] * x[1, 2]).square().sum() / (2 * sigma[1, 2] ** 2)
    assert torch.allclose(posterior(x, sigma)[1, 2], expected[1, 2] + pull)


SAMPLERS = {
    "langevin": langevin,
    "mala": lambda *a, **k: mala(*a, **k).x,
    "hmc": lambda *a, **k: hmc(*a, **k).x,
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_stack_of_chains_equals_its_solo_runs_and_the_start_is_left_alone(name: str) -> None:
    sampler, stack = SAMPLERS[name], Rng([3, 1])
    x = stack.normal((2, 50, 3), torch.float64)
    before = x.clone()
    steps = torch.tensor([0.1, 0.2]).repeat(25)
    both = sampler(gaussian_energy(0.7), x, stack, steps=3, step_size=steps.expand(2, 50))
    assert torch.equal(x, before)
    assert not both.requires_grad
    for i, seed in enumerate((3, 1)):
        alone = Rng(seed)
        start = alone.normal((50, 3), torch.float64)
        ours = sampler(gaussian_energy(0.7), start, alone, steps=3, step_size=steps)
        assert torch.allclose(both[i], ours, rtol=0, atol=1e-12)
    assert torch.equal(sampler(gaussian_energy(0.7), x, stack, steps=0, step_size=0.1), x)


@pytest.mark.parametrize("sampler", [mala, hmc])
def test_a_proposal_without_a_finite_energy_is_rejected(sampler: Sampler) -> None:
    def walled(x: Tensor) -> Tensor:
        return torch.where(x.abs().amax(-1) < 1, 0.0 * x.sum(-1), torch.nan)

    x = 2 * Rng(0).uniform((5_000, 1), torch.float64) - 1
    end, acceptance = sampler(walled, x, Rng(1), steps=20, step_size=0.2)
    assert (end.abs() < 1).all()
    assert off(end, 0.0) < 4
    assert off(end.square(), 1 / 3) < 4
    assert 0 < acceptance.mean() < 1
