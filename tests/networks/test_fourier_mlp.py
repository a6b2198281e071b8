"""The energy on Fourier features: its formula, its scaling, and what it is for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Rng, UsageError
from bench.core.quadrature import freeze
from bench.core.rng import Rng as Stream
from bench.plugins import builders

F64 = torch.float64


def network(
    seed: int | list[int] = 0, x_train: Tensor | None = None, *, conditional: bool = False, **hyper: Any
) -> Any:
    hyper = {"width": 16, "features": 8, **hyper}
    return builders.network("fourier_mlp", (2,), Rng(seed, "init"), x_train=x_train, **hyper).double()


def test_its_energy_is_that_of_its_formula() -> None:
    train = 3.0 + 0.5 * Rng(1, "data").normal((400, 2), F64)
    energy, x = network(x_train=train, confinement=0.7), Rng(2).normal((9, 2), F64)
    u = (x - train.mean(0)) / (train - train.mean(0)).square().mean().sqrt()
    h = torch.cat([u, (u @ energy.waves).sin(), (u @ energy.waves).cos()], -1)
    for w, b in zip(list(energy.weights)[:-1], list(energy.biases)[:-1], strict=True):
        h = torch.nn.functional.silu(h @ w + b)
    expected = (h @ energy.weights[-1] + energy.biases[-1]).squeeze(-1) + 0.35 * u.square().sum(-1)
    torch.testing.assert_close(energy(x), expected)


def test_data_in_other_units_and_elsewhere_have_the_same_energies() -> None:
    train, x = Rng(1, "data").normal((400, 2), F64), Rng(2).normal((9, 2), F64)
    torch.testing.assert_close(network(x_train=train)(x), network(x_train=100 * train + 7)(100 * x + 7))


def test_frequencies_are_drawn_for_each_seed_with_the_stated_spread() -> None:
    both = network([4, 2], Rng([4, 2], "data").normal((2, 50, 2), F64), features=4096, frequency=1.5)
    assert not torch.equal(both.waves[0], both.waves[1])
    assert float(both.waves.std()) == pytest.approx(1.5, rel=4 / math.sqrt(2 * both.waves.numel()))
    assert all(not torch.equal(w, both.waves) for w in both.parameters()), "they are not trained"


def test_data_that_do_not_vary_are_refused() -> None:
    with pytest.raises(UsageError, match="data that vary"):
        network(x_train=torch.ones(10, 2))


def test_it_fits_narrow_structure_that_a_plain_network_does_not() -> None:
    # the score of a stripe pattern, regressed by both for as many steps
    x = Rng(0, "data").uniform((512, 2)) * 4 - 2
    target = torch.sin(4 * x[:, 0]) * torch.cos(3 * x[:, 1])
    errors = []
    for name in ("fourier_mlp", "mlp"):
        net = builders.network(name, (2,), Stream(0, "init"), x_train=x)
        optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
        for _ in range(300):
            loss = (net(x) - target).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        errors.append(float(loss.detach()))
    assert errors[0] < 0.1 * errors[1]


def test_it_reaches_the_bound_of_the_convergence_check_in_a_short_run() -> None:
    # a coarse look at what the reference fit shows at length: maximum likelihood on eight Gaussians
    data = freeze(builders.dataset("two_moons", Rng(0, "data"), n_train=4096))
    net = builders.network("fourier_mlp", (2,), Stream(0, "init"), x_train=data.train)
    loss_of = builders.objective("maximum_likelihood", data.train, Rng(0), points=32)
    optimiser, rng = torch.optim.Adam(net.parameters(), lr=1e-2), Rng(0)
    for t in range(250):
        optimiser.param_groups[0]["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * t / 250))
        loss = loss_of(net, data.train[torch.randint(4096, (256,), generator=torch.Generator().manual_seed(t))], rng)
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    kl = builders.metric("kl")(net.requires_grad_(False), data.test[:0], data, Rng(0)).value
    assert kl is not None
    assert kl < 0.08
