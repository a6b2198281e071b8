"""The fully connected energy: what its noise-conditional form is made of."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Rng, UsageError
from bench.plugins import builders

F64 = torch.float64


def data(rng: Rng, n: int = 500) -> Tensor:
    return 2.0 + 0.7 * rng.normal((*rng.batch_shape(n), 3), F64)


def network(seed: int | list[int], x_train: Tensor | None = None, conditional: bool = True) -> Any:
    built = builders.network("mlp", (3,), Rng(seed, "init"), conditional=conditional, width=16).double()
    if x_train is not None:
        built.calibrate(x_train)
    return built


def test_without_its_free_part_it_is_the_normalised_energy_of_noised_gaussian_data() -> None:
    x, sigma = data(Rng(1, "data"), 20), torch.linspace(0.05, 3.0, 20, dtype=F64)
    train = data(Rng(0, "data"))
    energy = network(0, train)
    energy.weights[-1].data.zero_()
    energy.biases[-1].data.zero_()
    mean = train.mean(0)
    variance = (train - mean).square().mean() + sigma.square()
    exact = 0.5 * (x - mean).square().sum(-1) / variance + 1.5 * (2 * math.pi * variance).log()
    torch.testing.assert_close(energy(x, sigma), exact)


def test_its_free_part_answers_a_target_of_unit_size_at_every_level() -> None:
    # the score's part beside the Gaussian is ∇G σ_d / (σ √(σ² + σ_d²)): of the size of what noising hides
    train = 0.5 * Rng(0, "data").normal((4_000, 3), F64)
    energy = network(0, train)
    for sigma in (0.05, 0.5, 5.0):
        z = Rng(1).normal_like(train)
        noised, spread = train + sigma * z, float(energy.scale)
        variance = sigma**2 + spread**2
        target = (noised / variance - z / sigma) * sigma * variance**0.5 / spread
        assert float(target.square().mean()) == pytest.approx(1.0, rel=0.05)


def test_a_stack_is_calibrated_seed_by_seed_and_a_static_energy_is_not() -> None:
    stacked = data(Rng([4, 2], "data"))
    both = network([4, 2], stacked)
    x, sigma = stacked[:, :7], torch.full((2, 7), 0.3, dtype=F64)
    for i, seed in enumerate((4, 2)):
        alone = network(seed, stacked[i])
        torch.testing.assert_close(both(x, sigma)[i], alone(x[i], sigma[i]))
    static = network(0, conditional=False)
    before = static(x[0])
    static.calibrate(stacked[0])
    assert torch.equal(static(x[0]), before)


def test_the_loader_calibrates_on_the_training_data_and_refuses_data_that_do_not_vary() -> None:
    train = data(Rng(0, "data"))
    built: Any = builders.network("mlp", (3,), Rng(0, "init"), conditional=True, x_train=train)
    torch.testing.assert_close(built.mean.double(), train.mean(0, keepdim=True), atol=1e-5, rtol=0)
    with pytest.raises(UsageError, match="data that vary"):
        builders.network("mlp", (3,), Rng(0, "init"), conditional=True, x_train=torch.ones(5, 3))


def test_confinement_adds_a_quadratic_to_a_static_energy() -> None:
    free, confined = (builders.network("mlp", (3,), Rng(0, "init"), confinement=kappa) for kappa in (0.0, 2.5))
    x = Rng(1).normal((5, 3))
    assert torch.allclose(confined(x) - free(x), 1.25 * x.square().sum(-1), rtol=1e-4)
