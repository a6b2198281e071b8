"""Objectives with a player beside the energy: flows and critics against closed forms."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Rng
from bench.audit import divergences
from bench.audit.toy_problem import CELL, NEAR, NODES, START, mixture
from bench.plugins import builders, registry

F64 = torch.float64
F_DIVERGENCE = registry.find("objectives", "f_divergence_energy_based_model")
KINDS: dict[str, Any] = F_DIVERGENCE.target.forward.__globals__["F"]  # type: ignore[attr-defined]


def normal(seed: int, n: int, dim: int) -> Tensor:
    return Rng(seed, "data").normal((n, dim), F64)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_flow_knows_the_density_of_its_draws(dim: int) -> None:
    objective = builders.objective("flow_contrastive_estimation", 2 * normal(0, 500, dim) + 1, Rng(0))
    flow: Any = objective.loss
    for parameter in flow.parameters():
        parameter.data += 0.5 * Rng(1).normal_like(parameter)
    draws, log_density = flow.draw(normal(2, 400, dim), Rng(3))
    assert (flow.log_density(draws, Rng(0)) - log_density).abs().max() < 1e-8
    # by the change of variables: log |∂y/∂z| from autograd
    z = Rng(3).normal_like(draws)[:1]
    jacobian = torch.autograd.functional.jacobian(lambda u: moved(flow, u), z)[0, :, 0]
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum() - torch.linalg.slogdet(jacobian)[1]
    assert float(log_density[0].detach()) == pytest.approx(float(expected.detach()), abs=1e-8)


def moved(flow: Any, u: Tensor) -> Tensor:
    """The flow's map, written out."""
    for k in range(len(flow.masks)):
        log_scale, shift = flow.coupling(k, u)
        u = u * log_scale.exp() + shift
    return flow.mean + flow.deviation * u  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_critic_gives_the_gradient_of_the_f_divergence(kind: str) -> None:
    theta = (0.7 * NEAR.truth + 0.3 * START).requires_grad_()
    energies = mixture(NODES, theta)
    log_q = (-energies).log_softmax(-1)
    ratio = (NEAR.log_density(NODES) + torch.tensor(CELL).log() - log_q).detach()
    first, second = KINDS[kind]
    q, inside = log_q.exp(), ratio.abs() < 5  # beyond, the exponents are clipped
    value = second(ratio)
    covariance = (q.detach() * (value - (q * value).sum()).detach() * energies)[inside].sum()
    (found,) = torch.autograd.grad(covariance, theta, retain_graph=True)
    exact = divergences.gradient("f-divergence", NEAR, mixture, theta, {"kind": kind})
    assert float((found - exact).norm() / exact.norm()) < 0.05
    # and no other critic beats it
    p = CELL * NEAR.log_density(NODES).exp()
    bound = [float((p * first(h) - q.detach() * second(h)).sum()) for h in (ratio, ratio + 0.1, 0.9 * ratio)]
    assert bound[0] > max(bound[1:])


def test_noise_is_paired_with_data_at_the_least_cost() -> None:
    paired = registry.find("objectives", "energy_matching").target.forward.__globals__["_paired"]
    noise, x = normal(0, 6, 2), normal(1, 6, 2)
    costs = [(noise[list(order)] - x).square().sum() for order in permutations(range(6))]
    assert float((paired(noise, x, Rng(0)) - x).square().sum()) == pytest.approx(float(min(costs)))
    stacked = paired(torch.stack([x, noise]), torch.stack([noise, x]), Rng([0, 1]))
    assert torch.equal(stacked[1], paired(noise, x, Rng(0)))
