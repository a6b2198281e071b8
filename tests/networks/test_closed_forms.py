"""What a network says of its own derivatives, against autograd: of first and second order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Conditional, Rng
from bench.core import derivatives
from bench.core.quadrature import CachedFunction
from bench.costs.step_time import learner_of
from bench.evaluation.trained_energy import TrainedEnergy
from bench.plugins import builders, registry
from bench.samplers.langevin import posterior_energy
from bench.samplers.noise_levels import at_level

F64 = torch.float64
DIM = 3


def offers(name: str) -> bool:
    network: Any = registry.find("networks", name).target
    return any(hasattr(network, method) for method in derivatives.CLOSED_FORMS)


NETWORKS = [name for name in registry.names("networks") if offers(name)]
CASES = [
    (name, conditional, stacked)
    for name in NETWORKS
    for conditional in (False, True, *(["axes"] if registry.find("networks", name).info.axes else []))
    for stacked in (False, True)
]


def test_the_networks_of_the_plane_offer_all_of_them() -> None:
    assert {"mlp", "fourier_mlp"} <= set(NETWORKS)
    for name in ("mlp", "fourier_mlp"):
        assert all(hasattr(registry.find("networks", name).target, method) for method in derivatives.CLOSED_FORMS)


def made(name: str, conditional: Conditional, stacked: bool) -> tuple[Any, Tensor, Tensor, list[Tensor]]:
    seeds: Any = [4, 2] if stacked else 0
    x = 1.0 + 2.0 * Rng(seeds, "data").normal((*((2,) if stacked else ()), 7, DIM), F64)
    settings = {"confinement": 0.3} if not conditional else {}
    network = builders.network(
        name, (DIM,), Rng(seeds, "init"), conditional=conditional, x_train=x, width=9, **settings
    )
    told = x.shape if conditional == "axes" else x.shape[:-1]
    condition = [torch.linspace(0.1, 2.0, told.numel(), dtype=F64).reshape(told)] if conditional else []
    return network.double(), x, Rng(seeds, "count").normal(tuple(x.shape), F64), condition


def agree(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], network: Any) -> None:
    """The values, and the gradients of a function of them by every weight."""
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    gradients = []
    for values in (found, expected):
        total = sum((v * torch.sin(v.detach())).sum() for v in values)
        assert isinstance(total, Tensor)
        gradients.append(torch.autograd.grad(total, list(network.parameters()), allow_unused=True, retain_graph=True))
    for a, b in zip(*gradients, strict=True):
        zero = torch.zeros(()) if a is None or b is None else None
        if zero is None:
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
        else:
            assert all(g is None or not g.any() for g in (a, b))


@pytest.mark.parametrize(("name", "conditional", "stacked"), CASES)
def test_own_derivatives_are_those_of_autograd(name: str, conditional: Conditional, stacked: bool) -> None:
    network, x, v, condition = made(name, conditional, stacked)

    def plain(y: Tensor) -> Tensor:
        return network(y, *condition)  # type: ignore[no-any-return]

    rng = Rng([4, 2] if stacked else 0)
    agree(network.energy_and_score(x, *condition), derivatives.energy_and_score(plain, x, create_graph=True), network)
    agree(network.score_and_hessian_product(x, v, *condition), derivatives.hessian_product(plain, x, v), network)
    agree(network.score_and_laplacian(x, *condition), derivatives.laplacian(plain, x, rng), network)


@pytest.mark.parametrize("name", [name for name, conditional, stacked in CASES if conditional == "axes" and stacked])
@pytest.mark.parametrize("stacked", [False, True])
def test_one_level_an_example_is_that_level_on_all_axes(name: str, stacked: bool) -> None:
    network, x, _, (levels,) = made(name, "axes", stacked)
    one = levels[..., 0]
    expected = network(x, one.unsqueeze(-1).expand_as(x))
    torch.testing.assert_close(network(x, one), expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(network(x, levels), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_functions_of_the_api_take_what_a_network_offers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x, v, _ = made(name, conditional=False, stacked=False)
    expected = (
        derivatives.score(lambda y: network(y), x),
        derivatives.hessian_product(lambda y: network(y), x, v)[1],
        derivatives.laplacian(lambda y: network(y), x, Rng(0))[1],
    )

    def forbidden(*arguments: object, **keywords: object) -> None:
        raise AssertionError("autograd was asked")

    monkeypatch.setattr(torch.autograd, "grad", forbidden)
    found = derivatives.score(network, x), derivatives.hessian_product(network, x, v)[1]
    for a, b in zip((*found, derivatives.laplacian(network, x, Rng(0))[1]), expected, strict=True):
        torch.testing.assert_close(a, b)
    assert not derivatives.score(network, x).requires_grad, "a chain keeps no graph"
    assert derivatives.score(network, x, create_graph=True).requires_grad


@pytest.mark.parametrize("name", NETWORKS)
def test_events_that_are_no_vectors_keep_their_shape(name: str) -> None:
    x = Rng(0, "data").normal((5, 1, 2, 2))
    network = builders.network(name, (1, 2, 2), Rng(0, "init"), x_train=x)
    assert derivatives.score(network, x).shape == x.shape
    torch.testing.assert_close(derivatives.score(network, x), derivatives.score(lambda y: network(y), x))


@pytest.mark.parametrize("stacked", [False, True])
def test_the_posterior_and_a_noise_level_of_such_an_energy_have_closed_forms_too(stacked: bool) -> None:
    rng = Rng([4, 2] if stacked else 0)
    for conditional in (False, True):
        network, x, y, _ = made("fourier_mlp", conditional, stacked)
        sigma = 0.3 + torch.arange(x.shape[-2], dtype=F64).expand(x.shape[:-1])
        level = at_level(network, 0.7, rng) if conditional else network
        for alpha in (1.0, 0.8 * torch.ones_like(sigma)):
            own = posterior_energy(level, y, rng, sigma=sigma, alpha=alpha)
            plain = posterior_energy(lambda u: level(u), y, rng, sigma=sigma, alpha=alpha)  # noqa: B023
            assert hasattr(own, "energy_and_score")
            assert not hasattr(plain, "energy_and_score")
            found, expected = derivatives.energy_and_score(own, x), derivatives.energy_and_score(plain, x)
            for a, b in zip((*found, derivatives.score(own, x)), (*expected, expected[1]), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def plainly(found: Any) -> Any:
    """What autograd makes of an energy, which is told nothing else."""
    return lambda *arguments: found(*arguments)


WRAPPERS: dict[str, Any] = {
    "at given levels": lambda network, sigma: derivatives.conditioned(network, sigma),
    "at one level": lambda network, sigma: at_level(network, 0.7, Rng(0)),
    "frozen": lambda network, sigma: CachedFunction(derivatives.conditioned(network, sigma)),
    "trained": lambda network, sigma: TrainedEnergy(network, levels=(0.3, 2.0), conditional=True),
    "trained, shrinking": lambda network, sigma: TrainedEnergy(
        network, levels=(0.3, 2.0), conditional=True, shrinks=True
    ),
    "hot": lambda network, sigma: derivatives.rescaled(derivatives.conditioned(network, sigma), value=0.25),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_what_wraps_an_energy_keeps_its_closed_forms(kind: str) -> None:
    network, x, v, (sigma,) = made("fourier_mlp", conditional=True, stacked=False)
    wrapped = WRAPPERS[kind](network, sigma)
    found = derivatives.energy_and_score(wrapped, x), (derivatives.score(wrapped, x),)
    expected = derivatives.energy_and_score(plainly(wrapped), x), (derivatives.score(plainly(wrapped), x),)
    for a, b in zip(sum(found, ()), sum(expected, ()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    assert hasattr(wrapped, "energy_and_score")
    for second in ("score_and_hessian_product", "score_and_laplacian"):
        if hasattr(wrapped, second):
            for a, b in zip(
                (*derivatives.hessian_product(wrapped, x, v), *derivatives.laplacian(wrapped, x, Rng(0))),
                (
                    *derivatives.hessian_product(plainly(wrapped), x, v),
                    *derivatives.laplacian(plainly(wrapped), x, Rng(0)),
                ),
                strict=True,
            ):
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_no_objective_hides_the_closed_forms_of_its_energy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in its own code nor by a sampler: what asks for a score by the interface gets the network's."""
    data = Rng(0, "data").normal((64, 2))
    learner = learner_of(name, "fourier_mlp[width=8,depth=1]", data, torch.device("cpu"))
    asked: list[str] = []

    def grad(*arguments: Any, **keywords: Any) -> Any:
        asked.append(name)
        return torch.autograd.grad(*arguments, **keywords)

    autograd = SimpleNamespace(grad=grad)
    monkeypatch.setattr(derivatives, "torch", SimpleNamespace(**{**vars(torch), "autograd": autograd}))
    learner.update(learner.energy, data[:16], Rng(0, "objective"))
    assert not asked


@pytest.mark.parametrize("name", sorted({name for name, conditional, _ in CASES if conditional == "axes"}))
def test_in_one_dimension_a_level_a_coordinate_is_one_an_example(name: str) -> None:
    x, sigma = Rng(0, "data").normal((6, 1)), torch.linspace(0.1, 2.0, 6)
    network = builders.network(name, (1,), Rng(0, "init"), conditional="axes", x_train=x)
    torch.testing.assert_close(network(x, sigma.unsqueeze(-1)), network(x, sigma))
