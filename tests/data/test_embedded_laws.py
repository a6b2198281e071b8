"""Laws of many dimensions: draws, entropy, score and weights agree with the stated density."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import integrate

from bench.api import Data, Rng, UsageError, wells
from bench.plugins import builders

KINDS = ("separated", "overlapping", "unequal", "conditioned", "many_well")
LAWS = [(kind, dim) for kind in KINDS for dim in (2, 8, 32, 64) if (kind, dim) != ("conditioned", 2)]


def law(kind: str, dim: int) -> Data:
    return builders.dataset(f"gaussian_mixture[kind={kind},dim={dim}]", Rng(0, "data"), n_train=100, n_valid=100)


@pytest.mark.parametrize(("kind", "dim"), LAWS)
def test_draws_have_the_stated_entropy_and_modes(kind: str, dim: int) -> None:
    data = law(kind, dim)
    assert data.log_density is not None
    assert data.sample is not None
    assert data.entropy is not None
    assert data.mode_of is not None
    assert data.mode_weights is not None
    assert data.modes is not None
    n = 40_000
    x = data.sample(n, Rng(1, "data"))
    assert x.shape == (n, dim)
    log_p = data.log_density(x.double())
    assert abs(float(log_p.mean()) + data.entropy) < 4 * float(log_p.std()) / math.sqrt(n)
    count = torch.bincount(data.mode_of(x), minlength=len(data.modes)).double() / n
    weights = data.mode_weights.double()
    assert float(((count - weights).abs() / (weights * (1 - weights) / n).sqrt()).max()) < 4.5
    assert data.mode_of(data.modes).tolist() == list(range(len(data.modes)))


@pytest.mark.parametrize(("kind", "dim"), LAWS)
def test_the_density_is_normalised_and_its_score_is_its_gradient(kind: str, dim: int) -> None:
    data = law(kind, dim)
    assert data.log_density is not None
    assert data.score is not None
    x = data.test.double()
    direction = Rng(3).normal((dim,), torch.float64)
    step = 1e-5 * direction
    central = (data.log_density(x + step) - data.log_density(x - step)) / 2e-5
    torch.testing.assert_close(data.score(x) @ direction, central, rtol=1e-4, atol=1e-3)
    # E_p[s(x)ᵀx] = -d, by parts, holds for a normalised p alone
    products = (data.score(x) * x).sum(-1)
    assert abs(float(products.mean()) + dim) < 4 * float(products.std()) / math.sqrt(len(x))


def test_the_normaliser_of_wells_is_a_product_of_integrals() -> None:
    def density(y: float) -> float:
        return math.exp(-3 * (y * y - 1) ** 2 - 0.3 * y)

    one = integrate.quad(density, -5, 5, epsabs=1e-12)[0]
    core = wells(3, depth=3.0, tilt=0.3)
    y = torch.tensor([0.2, -0.9, 1.1], dtype=torch.float64)
    expected = sum(math.log(density(float(v)) / one) for v in y)
    assert float(core.log_density(y)) == pytest.approx(expected, abs=1e-8)
    assert float(core.mode_weights.sum()) == pytest.approx(1)


def test_a_stack_draws_each_seed_alone() -> None:
    stack: Any = builders.dataset("gaussian_mixture[dim=8,kind=many_well]", Rng([0, 3], "data"), n_train=9)
    alone = builders.dataset("gaussian_mixture[dim=8,kind=many_well]", Rng(3, "data"), n_train=9)
    assert torch.equal(stack.train[1], alone.train)


def test_on_the_plane_nothing_is_badly_conditioned() -> None:
    with pytest.raises(UsageError, match="dim 4 or more"):
        law("conditioned", 2)
