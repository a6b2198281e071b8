"""Expected gradients against exact integrals: bimodal data in one dimension, and an energy that is neither symmetric
nor linear in its parameters, in float64.

An objective is called at the nodes of a quadrature rule instead of at random numbers, so what is compared is its
expectation, to many digits, and not a mean of draws.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from bench.api import Rng
from bench.audit import divergences, toy_problem
from bench.audit.toy_problem import CELL, NEAR, NODES, WELLS, Model, mixture, wells
from bench.plugins import builders

SEEDS = 20


def slopes(model: Model, theta: Tensor) -> Tensor:
    """∂E/∂θ at the nodes, (nodes, parameters)."""
    return torch.autograd.functional.jacobian(lambda t: model(NODES, t, 0.0), theta)


def diffusion_gradient(variance: float) -> Tensor:
    """∇θ [KL(p‖q) - KL(p_T‖q_T)] = E_p[∇θE] - E_{p_T}[E_{q(x'|z)}[∇θE(x')]], T = variance."""
    slope = slopes(wells, WELLS)
    wide = (1 + variance) ** 0.5  # the noised data need a longer box than the data
    z = wide * NODES
    pull = (z[:, None] - NODES[None, :]).square() / (2 * variance)
    posterior = (-wells(NODES, WELLS) - pull).softmax(-1)
    p, p_noised = NEAR.log_density(NODES).exp(), NEAR.log_density(z, variance).exp()
    return CELL * (p @ slope - wide * p_noised @ (posterior @ slope))


def likelihood_gradient() -> Tensor:
    return (CELL * NEAR.log_density(NODES).exp() - (-wells(NODES, WELLS)).softmax(0)) @ slopes(wells, WELLS)


def expected_gradient(
    name: str, model: Model = wells, at: Tensor = WELLS, count: int = 24, **hyper: float | str
) -> Tensor:
    """E[∇θ loss], by quadrature."""
    objective = builders.objective(name, NODES[::400].unsqueeze(-1), Rng(0), local_scale=1.0, **hyper).loss
    kinds = toy_problem.axes(objective, toy_problem.as_energy(model, at))
    assert kinds is not None
    return toy_problem.integrated_gradient(objective, model, at, NEAR, kinds, count=count)


def relative_error(gradient: Tensor, exact: Tensor) -> float:
    return float((gradient - exact).norm() / exact.norm())


ONE_STEP = "diffusion_contrastive_divergence"
LAPLACE = "diffusion_contrastive_divergence_laplace"
FOKKER_PLANCK = "diffusion_contrastive_divergence_fokker_planck"


def error_at(name: str, variance: float, kernel: str = "ve") -> float:
    """Relative to the exact gradient, for a posterior of the same tether v = (σ/α)²."""
    sigma = (variance if kernel == "ve" else variance / (1 + variance)) ** 0.5
    gradient = expected_gradient(name, sigma=sigma, kernel=kernel, signs=1)
    return relative_error(gradient, diffusion_gradient(variance))


@pytest.mark.parametrize("variance", [0.01, 0.3, 10.0])
def test_the_gradient_of_the_divergence_contrasts_the_data_with_posterior_draws(variance: float) -> None:
    exact = divergences.gradient("diffusion contrastive", NEAR, wells, WELLS, {"sigma": variance**0.5})
    assert relative_error(diffusion_gradient(variance), exact) < 1e-8
    likelihood = divergences.gradient("maximum likelihood", NEAR, wells, WELLS, {})
    assert relative_error(likelihood_gradient(), likelihood) < 1e-8


@pytest.mark.parametrize("kernel", ["ve", "vp"])
@pytest.mark.parametrize(("name", "order"), [(ONE_STEP, 1), (FOKKER_PLANCK, 1), (LAPLACE, 2)])
def test_the_bias_has_the_stated_order_in_the_noise(name: str, order: int, kernel: str) -> None:
    errors = [error_at(name, variance, kernel) for variance in (0.004, 0.002, 0.001)]
    assert errors[0] < 0.2
    for coarse, fine in pairwise(errors):
        assert 0.7 * 2**order < coarse / fine < 1.3 * 2**order, errors


def test_curvature_makes_the_bias_fifty_times_smaller_at_small_noise() -> None:
    assert 50 * error_at(LAPLACE, 0.003) < error_at(ONE_STEP, 0.003)


def test_two_signs_have_the_expectation_of_one() -> None:
    for name in (ONE_STEP, LAPLACE, FOKKER_PLANCK):
        one, two = (expected_gradient(name, sigma=0.1, signs=signs) for signs in (1, 2))
        assert relative_error(two, one) < 1e-9


def test_the_noised_point_as_negative_is_wrong_at_every_noise() -> None:
    for variance in (0.25, 0.01, 0.001):
        gradient = expected_gradient("naive_diffusion_contrast", sigma=variance**0.5)
        assert relative_error(gradient, diffusion_gradient(variance)) > 0.3
        at_truth = expected_gradient("naive_diffusion_contrast", mixture, NEAR.truth, sigma=variance**0.5)
        assert at_truth.norm() > 0.1 * variance


def test_energy_discrepancy_of_one_negative_is_half_of_conditional_noise_contrast() -> None:
    discrepancy = expected_gradient("energy_discrepancy", samples=1, sigma=0.3, w=1.0)
    contrast = expected_gradient("conditional_noise_contrastive_estimation", count=40, samples=1, sigma=0.3 * 2**0.5)
    assert relative_error(2 * discrepancy, contrast) < 1e-6


def test_energy_discrepancy_of_one_negative_is_consistent_at_w_1_alone() -> None:
    size = {
        w: float(expected_gradient("energy_discrepancy", mixture, NEAR.truth, samples=1, sigma=0.3, w=w).norm())
        for w in (0.0, 0.25, 1.0, 4.0)
    }
    assert size[1.0] < 1e-6
    assert min(size[0.0], size[0.25], size[4.0]) > 1e-3


def test_truncated_contrastive_divergence_is_half_of_the_full_gradient_at_small_steps() -> None:
    truncated = expected_gradient("contrastive_divergence", count=40, steps=1, step_size=0.01)
    full = divergences.gradient("contrastive", NEAR, wells, WELLS, {"steps": 1, "step_size": 0.01})
    cosine = float(truncated @ full / truncated.norm() / full.norm())
    assert cosine > 0.99
    assert float(truncated.norm() / full.norm()) == pytest.approx(0.5, rel=0.05)


def drawn_gradient(name: str, model: Model, at: Tensor, n: int, **hyper: float | str) -> tuple[Tensor, Tensor]:
    """Mean gradient and its standard error over seeds, side by side, (parameters,) each."""
    seeds = range(SEEDS)
    x, rng = NEAR.draw(n, Rng(seeds, "data")).unsqueeze(-1), Rng(seeds)
    theta = at.expand(SEEDS, -1).clone().requires_grad_()
    # a length in units of x, a step in units of the narrower mode's variance
    units = {"sigma_units": "data"} if "sigma" in hyper else {}
    objective = builders.objective(name, x, rng, local_scale=0.4, **units, **hyper)
    (gradient,) = torch.autograd.grad(objective(toy_problem.as_energy(model, theta), x, rng).mean(-1).sum(), theta)
    return gradient.mean(0), gradient.std(0) / SEEDS**0.5


@pytest.mark.parametrize("samples", [4, 16])
def test_energy_discrepancy_at_w_1_is_stationary_at_the_truth_for_every_number_of_negatives(samples: int) -> None:
    n = 64_000 // samples
    mean, error = drawn_gradient("energy_discrepancy", mixture, NEAR.truth, n, samples=samples, sigma=0.5, w=1.0)
    assert (mean.abs() < 4 * error).all()
    mean, error = drawn_gradient("energy_discrepancy", mixture, NEAR.truth, n, samples=samples, sigma=0.5, w=0.0)
    assert (mean.abs() / error).max() > 5


@pytest.mark.parametrize("steps", [1, 4])
def test_posterior_chains_from_the_data_are_unbiased_at_the_truth_for_any_number_of_steps(steps: int) -> None:
    name = "diffusion_contrastive_divergence_recovery_from_data"
    mean, error = drawn_gradient(name, mixture, NEAR.truth, 6_000, steps=steps, sigma=0.5)
    assert (mean.abs() < 4 * error).all()


@pytest.mark.parametrize(
    ("name", "sampler"),
    [
        ("diffusion_contrastive_divergence_recovery", {"sampler": "mala"}),
        ("diffusion_contrastive_divergence_recovery", {"sampler": "langevin", "step_size": 0.05, "steps": 100}),
        ("diffusion_contrastive_divergence_recovery_from_data", {}),
    ],
)
def test_converged_posterior_chains_give_the_exact_gradient(name: str, sampler: dict[str, float | str]) -> None:
    hyper = {"steps": 60, "sigma": 0.3, "step_size": 0.4, **sampler}
    mean, error = drawn_gradient(name, wells, WELLS, 2_000, **hyper)
    exact = diffusion_gradient(0.09)
    # unadjusted chains keep a small bias
    assert ((mean - exact).abs() < 4 * error + 0.03 * exact.norm()).all()
    assert relative_error(mean, exact) < 0.2
