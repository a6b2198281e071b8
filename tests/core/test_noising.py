"""What the diffusion contrastive divergences say of themselves: kernels, fixed points, steps, levels, and limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.api import Energy, Rng, UsageError, langevin, mala, noised, posterior_energy, posterior_steps
from bench.plugins import builders, registry

DCD = "diffusion_contrastive_divergence"
POSTERIOR = [DCD, f"{DCD}_laplace", f"{DCD}_recovery", f"{DCD}_recovery_from_data"]
KERNELS = [name for name in registry.names("objectives") if "kernel" in registry.find("objectives", name).parameters]
SEEDS = list(range(20))


def wells(x: Tensor) -> Tensor:
    """A smooth energy without symmetry."""
    return (0.5 * x.square() + torch.sin(2 * x) + 0.3 * torch.cos(3 * x.roll(1, -1))).sum(-1)


def quadratic(theta: Tensor) -> Energy:
    return lambda x: 0.5 * theta * x.square().sum(-1)


def loss(name: str, energy: Energy, x: Tensor, rng: Rng, **hyper: float | str) -> Tensor:
    return builders.objective(name, x, Rng(rng.seeds), local_scale=0.5, sigma_units="data", **hyper)(energy, x, rng)


@pytest.mark.parametrize("name", POSTERIOR)
def test_preserving_the_variance_is_exploding_it_at_another_sigma(name: str) -> None:
    x = Rng(0, "data").normal((40, 2), torch.float64)
    alpha = math.sqrt(1 - 0.2**2)
    preserving = loss(name, wells, x, Rng(1), kernel="vp", sigma=0.2)
    exploding = loss(name, wells, x, Rng(1), kernel="ve", sigma=0.2 / alpha)
    assert torch.allclose(preserving, exploding, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_cannot_be_is_refused_in_one_line(name: str) -> None:
    hyper = {"sigma_max" if "sigma_max" in registry.find("objectives", name).parameters else "sigma": 1.5}
    with pytest.raises(UsageError, match=r"sigma must lie below 1; got 1.5; use .* kernel=ve"):
        loss(name, wells, torch.zeros(500, 2), Rng(0), kernel="vp", **hyper)


def test_the_kernels_noise_is_that_of_their_formula() -> None:
    x, noise = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 1.0]])
    preserving, exploding = noised(x, noise, 0.6, "vp"), noised(x, noise, 0.6, "ve")
    assert torch.allclose(preserving.y, 0.8 * x + 0.6 * noise)
    assert torch.allclose(preserving.z, preserving.y / 0.8)
    assert float(preserving.v) == pytest.approx(0.5625)
    assert torch.allclose(exploding.z, x + 0.6 * noise)
    assert float(exploding.v) == pytest.approx(0.36)


class Nodes(Rng):
    """Three-point Gauss-Hermite nodes in place of normal numbers: exact for what is quadratic in each of them."""

    def __init__(self, axes: int) -> None:
        super().__init__(0)
        nodes, weights = torch.tensor([[-(3**0.5), 0.0, 3**0.5], [1 / 6, 2 / 3, 1 / 6]], dtype=torch.float64)
        grid = torch.cartesian_prod(*[nodes] * axes)
        self.weight = torch.cartesian_prod(*[weights] * axes).prod(-1)
        self.first, *self.others = (column.unsqueeze(-1) for column in grid.unbind(-1))

    def normal_like(self, x: Tensor) -> Tensor:
        return self.others.pop(0)

    def rademacher_like(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


def expected_slope(name: str, precision: float, variance: float, **hyper: float | str) -> float:
    """E[∂loss/∂θ] at E = θx²/2, θ = precision, for data from N(0, variance)."""
    rng = Nodes(2 if name.endswith("fokker_planck") else 3)
    theta = torch.tensor(precision, dtype=torch.float64, requires_grad=True)
    x = variance**0.5 * rng.first
    total = (
        rng.weight * builders.objective(name, x, Rng(0), sigma_units="data", **hyper)(quadratic(theta), x, rng)
    ).sum()
    return float(torch.autograd.grad(total, theta)[0])


@pytest.mark.parametrize("r", [0.1, 0.5, 0.9])
def test_one_step_has_its_stated_fixed_point_on_a_gaussian(r: float) -> None:
    variance = 0.7
    v = r * variance
    found = v / (1 - math.sqrt((1 - r) / (1 + r)))
    assert expected_slope(DCD, 1 / found, variance, sigma=v**0.5) == pytest.approx(0, abs=1e-12)
    assert (
        expected_slope(DCD, 0.9 / found, variance, sigma=v**0.5)
        < 0
        < expected_slope(DCD, 1.1 / found, variance, sigma=v**0.5)
    )
    if r == 0.1:
        assert found == pytest.approx(variance * (1 + r / 2), rel=0.005)


def test_one_step_holds_no_gaussian_narrower_than_its_noise() -> None:
    for precision in (0.1, 1.0, 0.33**-2, 10.0, 100.0):
        assert expected_slope(DCD, precision, 0.09, sigma=0.33) < 0  # always towards a steeper energy


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_curvature_makes_one_step_exact_on_a_gaussian_at_any_noise(sigma: float) -> None:
    assert expected_slope(f"{DCD}_laplace", 1 / 0.7, 0.7, sigma=sigma) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_fokker_planck_learns_the_blurred_gaussian(sigma: float) -> None:
    slope = expected_slope(f"{DCD}_fokker_planck", 1 / (0.7 + sigma**2), 0.7, sigma=sigma)
    assert slope == pytest.approx(0, abs=1e-12)


def test_curvature_says_nan_where_there_is_no_law_to_draw_from() -> None:
    x = Rng(0, "data").normal((8, 2), torch.float64)
    curvatures = torch.tensor([1.0, -3.0], dtype=torch.float64, requires_grad=True)

    def saddle(y: Tensor) -> Tensor:
        return 0.5 * (curvatures * y.square()).sum(-1)

    assert loss(f"{DCD}_laplace", saddle, x, Rng(1), sigma=0.57).isfinite().all()
    assert loss(f"{DCD}_laplace", saddle, x, Rng(1), sigma=0.58).isnan().all()


@pytest.mark.parametrize("name", [DCD, f"{DCD}_laplace", f"{DCD}_fokker_planck"])
def test_both_signs_of_the_noise_make_the_gradient_far_less_noisy(name: str) -> None:
    x = Rng(0, "data").normal((2_000, 2), torch.float64)
    theta = torch.ones(2_000, dtype=torch.float64, requires_grad=True)  # one an example, to see each gradient
    spread = []
    for signs in (1, 2):
        total = loss(name, lambda y: theta * wells(y), x, Rng(1), sigma=0.05, signs=signs).sum()
        (gradient,) = torch.autograd.grad(total, theta)
        spread.append(float(gradient.std()))
    assert spread[1] < spread[0] / 5


def test_posterior_steps_fall_from_the_tether_to_the_harmonic_combination() -> None:
    v = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    for dim in (1, 64):
        steps = torch.stack(posterior_steps(v, 0.04, steps=5, dim=dim))
        assert (steps.diff(dim=0) < 0).all()
        assert torch.allclose(steps[-1] * dim ** (1 / 3), 1 / (1 / 0.04 + 1 / v))
        assert (steps * dim ** (1 / 3) < v).all()
        assert torch.allclose(steps.log().diff(n=2, dim=0), torch.zeros(3, 3).double(), atol=1e-12)


@pytest.mark.parametrize("dim", [1, 8, 64, 784])
def test_posterior_chains_move_in_every_dimension(dim: int) -> None:
    rng = Rng(0)
    x = rng.normal((400, dim), torch.float64)
    y, _, v, _ = noised(x, rng.normal_like(x), 0.5, "ve")
    posterior = posterior_energy(quadratic(torch.tensor(1.0)), y, rng, sigma=0.5)
    chain = mala(posterior, x, rng, steps=10, step_size=posterior_steps(v, 0.3, steps=10, dim=dim))
    assert float(chain.acceptance.mean()) > 0.3


def test_a_list_of_steps_is_taken_in_turn_and_its_last_goes_on() -> None:
    samplers: list[Callable[..., Tensor]] = [langevin, lambda *a, **k: mala(*a, **k).x]
    for sampler in samplers:
        x, rng, other = Rng(0).normal((20, 2), torch.float64), Rng(1), Rng(1)
        end = sampler(wells, x, rng, steps=4, step_size=[0.3, torch.tensor(0.2, dtype=torch.float64), 0.1])
        for step_size, steps in ((0.3, 1), (0.2, 1), (0.1, 2)):
            x = sampler(wells, x, other, steps=steps, step_size=step_size)
        assert torch.allclose(end, x, rtol=0, atol=1e-12)


def test_a_ladder_is_the_weighted_mean_of_its_levels() -> None:
    n, levels = 1_500, (0.2, 0.4, 0.8)
    x = Rng(SEEDS, "data").normal((len(SEEDS), n, 2), torch.float64)
    theta = torch.full((len(SEEDS), 1), 1.5, dtype=torch.float64, requires_grad=True)

    def slopes(name: str, **hyper: float | str) -> Tensor:
        per_example = loss(name, quadratic(theta), x, Rng(SEEDS), steps=2, **hyper)
        return torch.autograd.grad(per_example.mean(-1).sum(), theta)[0].squeeze(-1)

    ladder = slopes(f"{DCD}_ladder", sigma_min=0.2, sigma_max=0.8, levels=3)
    rungs = [0.2 / sigma * slopes(f"{DCD}_recovery_from_data", sigma=sigma) for sigma in levels]
    gap = ladder - torch.stack(rungs).mean(0)
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / len(SEEDS) ** 0.5
    assert float(ladder.mean()) > 10 * float(gap.std()) / len(SEEDS) ** 0.5
