"""Expected gradients against exact integrals: bimodal data in one dimension, and an energy that is neither symmetric
nor linear in its parameters, in float64.

An objective is called at the nodes of a quadrature rule instead of at random numbers, so what is compared is its
expectation, to many digits, and not a mean of draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from bench import load
from bench.api import Rng

SEEDS = 20
SIDE = 1_400
HALF = 7.0
NODES = (torch.arange(SIDE, dtype=torch.float64) + 0.5) * (2 * HALF / SIDE) - HALF
CELL = 2 * HALF / SIDE
THETA = (0.9, 0.7, 1.3, 0.4)
CENTRES, DEVIATIONS, WEIGHTS = (torch.tensor(v, dtype=torch.float64) for v in ((-1.3, 1.0), (0.55, 0.4), (0.6, 0.4)))


def energy(x: Tensor, theta: Tensor) -> Tensor:
    """Two wells of different depth; no parameter enters linearly alone."""
    a, b, c, d = theta
    return 0.5 * (a * x).square() + b.exp() * torch.sin(c * x + d) + 0.1 * torch.cos(3 * c * x)


def log_p(x: Tensor, extra_variance: float = 0.0) -> Tensor:
    """log density of the data, convolved with N(0, extra_variance)."""
    variance = DEVIATIONS.square() + extra_variance
    square = (x.unsqueeze(-1) - CENTRES).square() / (2 * variance)
    return (WEIGHTS.log() - square - 0.5 * (2 * math.pi * variance).log()).logsumexp(-1)


def truth(x: Tensor, theta: Tensor) -> Tensor:
    """The data's own energy at θ = 0, tilted by functions that no symmetry hides."""
    return -log_p(x) + theta[0] * x + theta[1] * torch.cos(2 * x) + theta[2] * torch.sin(x).square() * x.cos()


AT_TRUTH = torch.zeros(3, dtype=torch.float64)


def slopes(values: Callable[[Tensor], Tensor]) -> Tensor:
    """∂E/∂θ at the nodes, (SIDE, parameters)."""
    return torch.autograd.functional.jacobian(values, torch.tensor(THETA, dtype=torch.float64))


def diffusion_gradient(variance: float) -> Tensor:
    """∇θ [KL(p‖q) - KL(p_T‖q_T)] = E_p[∇θE] - E_{p_T}[E_{q(x'|z)}[∇θE(x')]], T = variance."""
    theta = torch.tensor(THETA, dtype=torch.float64)
    slope = slopes(lambda t: energy(NODES, t))
    wide = 1 + variance**0.5  # the noised data need a longer box than the data
    z = wide * NODES
    pull = (z[:, None] - NODES[None, :]).square() / (2 * variance)
    posterior = (-energy(NODES, theta) - pull).softmax(-1)
    return CELL * (log_p(NODES).exp() @ slope - wide * log_p(z, variance).exp() @ (posterior @ slope))


def likelihood_gradient() -> Tensor:
    slope = slopes(lambda t: energy(NODES, t))
    model = (-energy(NODES, torch.tensor(THETA, dtype=torch.float64))).softmax(0)
    return (CELL * log_p(NODES).exp() - model) @ slope


def hermite(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights for expectations over N(0, 1)."""
    beta = torch.arange(1, count, dtype=torch.float64).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(beta, 1) + torch.diag(beta, -1))
    return values, vectors[0].square()


class Prescribed(Rng):
    """Gives the noises that it was given, in turn; a sign is +1, as in one dimension its square is all that counts."""

    def __init__(self, noises: list[Tensor]) -> None:
        super().__init__(0)
        self.noises = list(noises)

    def normal_like(self, x: Tensor) -> Tensor:
        return self.noises.pop(0).reshape(x.shape)

    def rademacher_like(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


def expected_gradient(
    name: str,
    model: Callable[[Tensor, Tensor], Tensor] = energy,
    at: Tensor | None = None,
    noises: int = 2,
    count: int = 24,
    **hyper: float | str,
) -> Tensor:
    """E[∇θ loss] of an objective that draws `noises` standard normal numbers an example, by quadrature."""
    x, weight = NODES[::5], 5 * CELL * log_p(NODES[::5]).exp()
    z, w = hermite(count)
    grids = torch.meshgrid(x, *[z] * noises, indexing="ij")
    weights = torch.meshgrid(weight, *[w] * noises, indexing="ij")
    theta = (torch.tensor(THETA, dtype=torch.float64) if at is None else at).clone().requires_grad_()
    data = grids[0].reshape(-1, 1)
    objective = load.objective(name, data[:4], Rng(0), local_scale=1.0, **hyper)
    rng = Prescribed([g.reshape(-1, 1) for g in grids[1:]])
    loss = objective(lambda x: model(x.squeeze(-1), theta), data, rng)
    assert not rng.noises
    total = (torch.stack(weights).prod(0).flatten() * loss).sum()
    return torch.autograd.grad(total, theta)[0]


def relative_error(gradient: Tensor, exact: Tensor) -> float:
    return float((gradient - exact).norm() / exact.norm())


ONE_STEP = "diffusion_contrastive_divergence"
LAPLACE = "diffusion_contrastive_divergence_laplace"
FOKKER_PLANCK = "diffusion_contrastive_divergence_fokker_planck"


def error_at(name: str, variance: float, kernel: str = "ve") -> float:
    """Relative to the exact gradient, for a posterior of the same tether v = (σ/α)²."""
    sigma = (variance if kernel == "ve" else variance / (1 + variance)) ** 0.5
    noises = 1 if name == FOKKER_PLANCK else 2
    gradient = expected_gradient(name, noises=noises, sigma=sigma, kernel=kernel, signs=1)
    return relative_error(gradient, diffusion_gradient(variance))


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
    for name, noises in ((ONE_STEP, 2), (LAPLACE, 2), (FOKKER_PLANCK, 1)):
        one, two = (expected_gradient(name, noises=noises, sigma=0.1, signs=signs) for signs in (1, 2))
        assert relative_error(two, one) < 1e-9


def test_the_noised_point_as_negative_is_wrong_at_every_noise() -> None:
    for variance in (0.25, 0.01, 0.001):
        gradient = expected_gradient("naive_diffusion_contrast", noises=1, sigma=variance**0.5)
        assert relative_error(gradient, diffusion_gradient(variance)) > 0.3
        at_truth = expected_gradient("naive_diffusion_contrast", truth, AT_TRUTH, noises=1, sigma=variance**0.5)
        assert at_truth.norm() > 0.1 * variance


def test_diffusion_contrastive_divergence_tends_to_maximum_likelihood() -> None:
    gaps = [relative_error(diffusion_gradient(variance), likelihood_gradient()) for variance in (1.0, 10.0, 100.0)]
    assert 0.6 > gaps[0] > 4 * gaps[1] > 16 * gaps[2], gaps


def test_energy_discrepancy_of_one_negative_is_half_of_conditional_noise_contrast() -> None:
    discrepancy = expected_gradient("energy_discrepancy", noises=2, samples=1, sigma=0.3, w=1.0)
    contrast = expected_gradient(
        "conditional_noise_contrastive_estimation", noises=1, count=40, samples=1, sigma=0.3 * 2**0.5
    )
    assert relative_error(2 * discrepancy, contrast) < 1e-6


def test_energy_discrepancy_of_one_negative_is_consistent_at_w_1_alone() -> None:
    size = {
        w: float(expected_gradient("energy_discrepancy", truth, AT_TRUTH, samples=1, sigma=0.3, w=w).norm())
        for w in (0.0, 0.25, 1.0, 4.0)
    }
    assert size[1.0] < 1e-6
    assert min(size[0.0], size[0.25], size[4.0]) > 1e-3


def fisher_gradient(sigma: float = 0.0) -> Tensor:
    """∇θ ½E‖∇log p_σ - s‖² over p_σ, the data's law convolved with N(0, σ²)."""
    theta = torch.tensor(THETA, dtype=torch.float64).requires_grad_()
    x = NODES.clone().requires_grad_()
    law = log_p(x, sigma**2)
    (true,) = torch.autograd.grad(law.sum(), x)
    (slope,) = torch.autograd.grad(energy(x, theta).sum(), x, create_graph=True)
    return torch.autograd.grad(0.5 * CELL * (law.detach().exp() * (true + slope).square()).sum(), theta)[0]


@pytest.mark.parametrize("name", ["implicit_score_matching", "sliced_score_matching"])
def test_score_matching_has_the_gradient_of_the_fisher_divergence(name: str) -> None:
    assert relative_error(expected_gradient(name, noises=0), fisher_gradient()) < 1e-6


@pytest.mark.parametrize("sigma", [0.1, 0.4])
def test_denoising_has_the_gradient_of_the_fisher_divergence_of_noised_data(sigma: float) -> None:
    found = expected_gradient("denoising_score_matching", noises=1, sigma=sigma)
    assert relative_error(found, sigma**2 * fisher_gradient(sigma)) < 1e-6
    assert relative_error(found, sigma**2 * fisher_gradient()) > 0.01


@pytest.mark.parametrize(
    ("name", "scale", "weight", "order"),
    [
        ("finite_difference_sliced_score_matching", "epsilon", lambda step: 1.0, 2),
        ("conditional_noise_contrastive_estimation", "sigma", lambda step: step**2 / 2, 2),
        ("minimum_probability_flow", "sigma", lambda step: step**2 / 4, 2),
    ],
)
def test_small_moves_tend_to_score_matching_at_the_stated_order(
    name: str, scale: str, weight: Callable[[float], float], order: int
) -> None:
    more = {} if scale == "epsilon" else {"samples" if "noise" in name else "neighbours": 1}
    steps = (0.08, 0.04, 0.02)
    errors = [
        relative_error(expected_gradient(name, noises=1, **{scale: step, **more}) / weight(step), fisher_gradient())
        for step in steps
    ]
    assert errors[0] < 0.2
    for coarse, fine in pairwise(errors):
        assert 0.7 * 2**order < coarse / fine < 1.3 * 2**order, errors


def full_gradient(step: float) -> Tensor:
    """∇θ [KL(p‖q) - KL(Πp‖q)], Π one transition of unadjusted Langevin, with nothing dropped."""
    theta = torch.tensor(THETA, dtype=torch.float64).requires_grad_()
    x = NODES.clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(x, theta).sum(), x, create_graph=True)
    mean = NODES - 0.5 * step * slope
    log_kernel = -(NODES[:, None] - mean[None, :]).square() / (2 * step) - 0.5 * math.log(2 * math.pi * step)
    after = (log_kernel + log_p(NODES)).logsumexp(-1) + math.log(CELL)
    energies = energy(NODES, theta)
    divergence = CELL * (log_p(NODES).exp() * energies - after.exp() * (energies + after)).sum()
    return torch.autograd.grad(divergence, theta)[0]


def test_truncated_contrastive_divergence_is_half_of_the_full_gradient_at_small_steps() -> None:
    truncated = expected_gradient("contrastive_divergence", noises=1, count=40, steps=1, step_size=0.01)
    full = full_gradient(0.01)
    cosine = float(truncated @ full / truncated.norm() / full.norm())
    assert cosine > 0.99
    assert float(truncated.norm() / full.norm()) == pytest.approx(0.5, rel=0.05)


def drawn_gradient(
    name: str, model: Callable[[Tensor, Tensor], Tensor], at: tuple[float, ...], n: int, **hyper: float | str
) -> tuple[Tensor, Tensor]:
    """Mean gradient and its standard error over seeds, side by side, (parameters,) each."""
    seeds = list(range(SEEDS))
    data_rng, rng = Rng(seeds, "data"), Rng(seeds)
    mode = data_rng.choice(WEIGHTS, (SEEDS, n))
    x = (CENTRES[mode] + DEVIATIONS[mode] * data_rng.normal((SEEDS, n), torch.float64)).unsqueeze(-1)
    theta = torch.tensor(at, dtype=torch.float64).expand(SEEDS, -1).clone().requires_grad_()
    objective = load.objective(name, x, rng, local_scale=0.4, **hyper)
    loss = objective(lambda x: model(x.squeeze(-1), theta.T.unsqueeze(-1)), x, rng)
    (gradient,) = torch.autograd.grad(loss.mean(-1).sum(), theta)
    return gradient.mean(0), gradient.std(0) / SEEDS**0.5


@pytest.mark.parametrize("samples", [4, 16])
def test_energy_discrepancy_at_w_1_is_stationary_at_the_truth_for_every_number_of_negatives(samples: int) -> None:
    n = 64_000 // samples
    mean, error = drawn_gradient("energy_discrepancy", truth, (0.0,) * 3, n, samples=samples, sigma=0.5, w=1.0)
    assert (mean.abs() < 4 * error).all()
    mean, error = drawn_gradient("energy_discrepancy", truth, (0.0,) * 3, n, samples=samples, sigma=0.5, w=0.0)
    assert (mean.abs() / error).max() > 5


@pytest.mark.parametrize("steps", [1, 4])
def test_posterior_chains_from_the_data_are_unbiased_at_the_truth_for_any_number_of_steps(steps: int) -> None:
    name = "diffusion_contrastive_divergence_recovery_from_data"
    mean, error = drawn_gradient(name, truth, (0.0,) * 3, 6_000, steps=steps, sigma=0.5)
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
    mean, error = drawn_gradient(name, energy, THETA, 2_000, **hyper)
    exact = diffusion_gradient(0.09)
    # unadjusted chains keep a small bias
    assert ((mean - exact).abs() < 4 * error + 0.03 * exact.norm()).all()
    assert relative_error(mean, exact) < 0.2
