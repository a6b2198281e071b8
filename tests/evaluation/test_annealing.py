"""Annealed importance sampling: unbiased, honest about its error, and silent where it knows nothing."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import Tensor

from bench.api import Rng, UsageError, annealed_partition
from bench.evaluation.likelihood.annealing import Annealed, Schedule, anneal, move, particles_at, pilot, reversed_from
from bench.evaluation.likelihood.base import BroadBase, RoundEnergy
from bench.evaluation.likelihood.certificate import nested_r_hat
from bench.plugins import builders
from tests.helpers.mixtures import Mixture


def normal(n: int, dim: int, seed: int = 0) -> Tensor:
    return Rng(seed, "data").normal((n, dim))


def first_axis(dim: int, *places: float) -> list[list[float]]:
    return [[place, *[0.0] * (dim - 1)] for place in places]


def standard(x: Tensor) -> Tensor:
    return 0.5 * x.square().sum(-1)


def log_z_of_standard(dim: int) -> float:
    return dim / 2 * math.log(2 * math.pi)


def parts(dim: int, seed: int = 0) -> tuple[RoundEnergy, BroadBase, Schedule]:
    base = BroadBase(normal(2000, dim))
    target = RoundEnergy(standard, base)
    return target, base, pilot(target, base, Rng(seed, "pilot"), particles=256, spread=0.01, most=200)


def test_the_base_covers_its_data_whatever_their_shape() -> None:
    mixing = normal(5, 5, seed=3)
    x = normal(3000, 5) @ mixing * torch.tensor([1.0, 0.1, 1.0, 10.0, 1.0]) + 7
    base = BroadBase(x)
    torch.testing.assert_close(base.points(base.coordinates(x)), x, rtol=1e-4, atol=1e-3)
    u = base.coordinates(x)
    torch.testing.assert_close(u.T @ u / len(u), torch.eye(5), rtol=0, atol=2e-2)
    assert base.outside(u) == 0
    assert base.outside(base.draw(10_000, Rng(0))) < 1e-3
    assert base.outside(u + 100) == 1


def test_the_base_exists_where_there_are_fewer_data_than_dimensions() -> None:
    base = BroadBase(normal(6, 20))
    assert math.isfinite(base.log_det)
    x = base.points(base.draw(8, Rng(0)))
    assert x.isfinite().all()


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_transition_leaves_its_law_invariant(beta: float) -> None:
    dim, n = 3, 40_000
    base = BroadBase(normal(2000, dim))
    target = RoundEnergy(lambda x: 2 * x.square().sum(-1), base)
    # π_β is a Gaussian of precision (1-β)/s² + 4β in u, as the data are almost white
    base.mean, base.factor, base.log_det = torch.zeros(dim), torch.eye(dim), 0.0
    precision = (1 - beta) / base.scale**2 + 4 * beta
    state = particles_at(target, normal(n, dim, seed=1) / precision**0.5)
    rng = Rng(2)
    for _ in range(3):
        state, accept = move(target, base, state, beta, 0.5 / precision, rng)
    assert 0.3 < float(accept.double().mean()) <= 1
    square = precision * state.u.double().square().sum(-1)
    assert abs(float(square.mean()) - dim) < 4 * math.sqrt(2 * dim / n)
    assert abs(float(square.var()) - 2 * dim) < 5 * math.sqrt(8 * dim * (dim + 6) / n)


@pytest.mark.parametrize("islands", [None, 8])
def test_the_mean_weight_is_z_even_with_few_temperatures(islands: int | None) -> None:
    target, base, schedule = parts(4)
    short = schedule.halved().halved()
    runs = [anneal(target, base, short, Rng(k, "run"), particles=256, islands=islands) for k in range(60)]
    ratios = torch.tensor([math.exp(run.log_z - log_z_of_standard(4)) for run in runs]).double()
    assert abs(float(ratios.mean()) - 1) < 4 * float(ratios.std()) / math.sqrt(len(ratios))
    logs = torch.tensor([run.log_z for run in runs]).double()
    claimed = sum(run.stderr for run in runs) / len(runs)
    assert claimed == pytest.approx(float(logs.std()), rel=0.35)  # the error of a deviation from 60 runs, four times


def test_the_log_of_the_mean_weight_is_a_lower_bound_on_average() -> None:
    target, base, schedule = parts(8)
    runs = [anneal(target, base, schedule.halved().halved().halved(), Rng(k, "few"), particles=4) for k in range(200)]
    errors = torch.tensor([run.log_z - log_z_of_standard(8) for run in runs]).double()
    assert float(errors.mean()) < -4 * float(errors.std()) / math.sqrt(len(errors))


def test_the_way_back_bounds_log_z_minus_kl_from_above() -> None:
    target, base, schedule = parts(3)
    exact, stderr = reversed_from(target, base, schedule, Rng(1), base.coordinates(normal(2000, 3, seed=5)))
    assert log_z_of_standard(3) - 4 * stderr < exact < log_z_of_standard(3) + 1


def test_from_data_in_one_of_two_modes_the_way_back_ends_below_log_z() -> None:
    base, model, data = BroadBase(normal(4000, 8)), Mixture(first_axis(8, 0.0, 12.0), 1.0), normal(4000, 8)
    target = RoundEnergy(model.energy, base)
    schedule = pilot(target, base, Rng(0), particles=256, spread=0.002, most=300)
    bound, stderr = reversed_from(target, base, schedule, Rng(1), base.coordinates(data[:1000]))
    assert -math.log(2) - 4 * stderr < bound < -4 * stderr  # KL(p‖q) = log 2, log Z = 0


def test_schedules_are_halved_and_doubled_between_the_same_ends() -> None:
    schedule = Schedule((0.0, 0.1, 0.4, 1.0), (3.0, 2.0, 1.0))
    assert schedule.halved() == Schedule((0.0, 0.4, 1.0), (2.0, 1.0))
    doubled = schedule.doubled()
    assert doubled.betas == pytest.approx((0.0, 0.05, 0.1, 0.2, 0.4, math.sqrt(0.4), 1.0))
    assert doubled.steps == (3.0, 3.0, 2.0, 2.0, 1.0, 1.0)


def test_weights_of_one_particle_are_no_sample() -> None:
    u = torch.zeros(4, 1)
    even = Annealed(particles_at(RoundEnergy(standard, BroadBase(normal(9, 1))), u), torch.zeros(4).double(), 4)
    assert (even.ess, even.stderr, even.log_z) == (1.0, 0.0, 0.0)
    one = Annealed(even.particles, torch.tensor([0.0, -900.0, -900.0, -900.0]).double(), 4)
    assert one.ess == pytest.approx(1 / 4)
    assert Annealed(even.particles, torch.full((4,), math.nan).double(), 4).ess == 0


def test_nested_r_hat_sees_groups_apart_and_nothing_else() -> None:
    z = Rng(0).normal((2, 200, 50), torch.float64)
    assert nested_r_hat(z) < 1.001
    # means a deviation apart: B = 1/2, W = 1
    assert nested_r_hat(z + torch.tensor([0.0, 1.0]).double()[:, None, None]) == pytest.approx(1.5**0.5, rel=0.02)
    assert not nested_r_hat(z * math.nan) <= 1.01


@pytest.mark.parametrize("dim", [2, 8, 32])
def test_a_gaussian_is_certified_and_its_interval_holds_the_truth(dim: int) -> None:
    found = annealed_partition(standard, normal(4000, dim), Rng(0, "eval"))
    assert found.certified, found.reason
    assert (found.mark, found.detail["mark"]) == ("certified_ais", "certified_ais")
    assert abs(found.log_z - log_z_of_standard(dim)) < 4 * found.stderr
    low, high = found.interval
    assert high - low <= {2: 0.1, 8: 0.1, 32: 0.5}[dim]
    assert found.detail["energy_evaluations"] > 1e6
    assert found.detail["bounds"].startswith("log Z from below")


@pytest.mark.parametrize("dim", [2, 8, 32])
def test_a_second_mode_that_neither_the_base_nor_the_data_knows_is_not_certified(dim: int) -> None:
    model = Mixture(first_axis(dim, 0.0, 12.0), 1.0)
    found = annealed_partition(model.energy, normal(4000, dim), Rng(0, "eval"))
    assert not found.certified
    assert found.mark == "uncertified"
    assert found.reason


@pytest.mark.parametrize("dim", [2, 8, 32])
def test_a_spurious_mode_that_the_base_reaches_is_not_certified(dim: int) -> None:
    model = Mixture(first_axis(dim, 0.0, 6.0), 1.0, [0.1, 0.9])
    assert not annealed_partition(model.energy, normal(4000, dim), Rng(0, "eval")).certified


def test_a_model_without_a_normaliser_is_not_certified() -> None:
    found = annealed_partition(lambda x: 0.2 * x.square().sum(-1).clamp(max=4), normal(2000, 2), Rng(0, "eval"))
    assert not found.certified


def test_a_network_in_32_dimensions_is_certified_within_a_minute() -> None:
    network = builders.network("mlp", (32,), Rng(0, "init"), width=128, depth=2, confinement=1.0)
    began = time.process_time()
    found = annealed_partition(network, normal(4000, 32), Rng(0, "eval"))
    assert found.certified, found.reason
    assert time.process_time() - began <= 60


def test_an_energy_that_is_not_a_number_has_no_value() -> None:
    found = annealed_partition(lambda x: x.sum(-1) * math.nan, normal(200, 2), Rng(0, "eval"))
    assert math.isnan(found.log_z)
    assert not found.certified
    assert "not a number" in found.reason


def test_one_example_is_refused() -> None:
    with pytest.raises(UsageError, match=r"2 examples at least; got 1"):
        annealed_partition(standard, normal(1, 2), Rng(0))
