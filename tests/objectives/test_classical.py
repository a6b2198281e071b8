"""The classical objectives against closed forms: what is particular to each file, in standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Rng, mala
from bench.plugins import builders
from bench.plugins.objective import Objective

F64 = torch.float64
Family = Callable[[Tensor, float], Tensor]
PERSISTENT = (
    "persistent_contrastive_divergence",
    "tempered_persistent_contrastive_divergence",
    "improved_contrastive_divergence",
)


def flat(x: Tensor) -> Tensor:
    """No forces at all: with a tiny step every sampler is the identity."""
    return 0 * x.sum(-1)


def normal(seed: int, n: int, dim: int) -> Tensor:
    return Rng(seed, "data").normal((n, dim), F64)


def build(name: str, x_train: Tensor | None = None, **hyper: Any) -> Objective:
    given = normal(9, 4, 2) if x_train is None else x_train
    return builders.objective(name, given, Rng(0), local_scale=1.0, **hyper)


def slope(objective: Objective, family: Family, at: float, x: Tensor, seed: int) -> tuple[float, float]:
    """Mean and standard error over examples of d loss / dθ, for an energy of one parameter, the same noise at θ ± h."""
    h = 1e-4
    above, below = (objective(lambda y, t=t: family(y, t), x, Rng(seed)).detach() for t in (at + h, at - h))
    values = (above - below) / (2 * h)
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def quadratic(x: Tensor, theta: float) -> Tensor:
    return 0.5 * theta * x.square().sum(-1)


@pytest.mark.parametrize("name", PERSISTENT)
def test_chains_that_do_not_move_keep_their_slots(name: str) -> None:
    x = normal(0, 32, 2)
    objective = build(name, normal(1, 500, 2), chains=300, restart=0.0, step_size=1e-3, steps=1)
    module: Any = objective.loss
    module.step_size = 1e-20
    before = module.chains.clone()
    rng = Rng(3)
    for _ in range(50):
        objective(flat, x, rng)
    assert (module.chains - before).abs().max() < 1e-7
    assert len(module.chains.unique(dim=0)) == 300


@pytest.mark.parametrize("name", PERSISTENT)
def test_only_the_slots_that_were_taken_are_written_and_each_once(name: str) -> None:
    x = normal(0, 32, 2)
    objective = build(name, normal(1, 500, 2), chains=300, restart=0.0, steps=1)
    module: Any = objective.loss
    before = module.chains.clone()
    objective(flat, x, Rng(3))
    assert int((module.chains != before).any(-1).sum()) == 32


@pytest.mark.parametrize("name", PERSISTENT)
@pytest.mark.parametrize("restart", [0.05, 0.5, 1.0])
def test_chains_begin_anew_at_the_declared_rate(name: str, restart: float) -> None:
    objective = build(name, normal(1, 500, 2), chains=300, restart=restart, steps=1)
    module: Any = objective.loss
    module.step_size = 1e-20
    rng, moved, draws = Rng(3), 0, 0
    for _ in range(40):
        before = module.chains.clone()
        objective(flat, normal(0, 100, 2), rng)
        moved += int(((module.chains - before).abs() > 1e-7).any(-1).sum())
        draws += 100
    assert abs(moved - restart * draws) <= 4 * math.sqrt(draws * restart * (1 - restart))


def test_contrastive_divergence_starts_its_chains_at_the_data() -> None:
    x = normal(0, 64, 2) + 7
    for name in ("contrastive_divergence", "contrastive_divergence_mala"):
        seen: list[Tensor] = []

        def energy(points: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(points.detach().clone())
            return 0.5 * points.square().sum(-1)

        build(name, steps=3)(energy, x, Rng(1))
        assert torch.equal(seen[0], x)


def test_short_run_chains_start_in_the_box_and_not_at_the_data() -> None:
    train = normal(0, 400, 2)
    objective = build("short_run_mcmc", train, steps=1, step_size=1e-3, data_noise=0.0)
    seen: list[Tensor] = []

    def energy(points: Tensor) -> Tensor:
        seen.append(points.detach().clone())
        return flat(points)

    objective(energy, torch.full((400, 2), 9.0, dtype=F64), Rng(1))
    start = seen[0]
    assert (start >= train.amin(0)).all()
    assert (start <= train.amax(0)).all()
    width = train.amax(0) - train.amin(0)
    error = start.mean(0) - (train.amax(0) + train.amin(0)) / 2
    assert (error.abs() < 4 * width / math.sqrt(12 * 400)).all()


@pytest.mark.parametrize(("name", "temperature"), [("short_run_mcmc", 0.25), ("short_run_mcmc", 1.0)])
def test_short_run_chains_reach_the_law_of_their_temperature(name: str, temperature: float) -> None:
    train = normal(0, 2000, 1)
    epsilon = 0.2
    objective = build(name, train, steps=100, step_size=epsilon, temperature=temperature, data_noise=0.0)
    values = -objective(lambda y: 0.5 * y.square().sum(-1), torch.zeros(4000, 1, dtype=F64), Rng(1))
    variance = temperature / (1 - epsilon / 4)
    # -loss is half a squared normal number of that variance: relative standard deviation √2
    assert abs(float(2 * values.mean()) - variance) < 4 * variance * math.sqrt(2 / 4000)


def test_tempered_chains_reach_the_law_of_their_temperature() -> None:
    epsilon, temperature = 0.2, 0.04
    objective = build(
        "tempered_persistent_contrastive_divergence",
        normal(0, 2000, 1),
        chains=4000,
        restart=0.0,
        steps=100,
        step_size=epsilon,
        temperature=temperature,
    )
    module: Any = objective.loss
    objective(lambda y: 0.5 * y.square().sum(-1), torch.zeros(4000, 1, dtype=F64), Rng(1))
    variance = temperature / (1 - epsilon / 4)
    assert abs(float(module.chains.square().mean()) - variance) < 4 * variance * math.sqrt(2 / 4000)


def test_persistent_chains_adapt_their_step_to_the_acceptance_that_was_asked_for() -> None:
    x_train = torch.stack([normal(1, 500, 8), 3 * normal(2, 500, 8)])
    x, rng = x_train[:, :200], Rng([0, 1])
    objective = builders.objective(
        "persistent_contrastive_divergence_mala", x_train, rng, local_scale=1.0, restart=0.0, steps=5, step_size=0.3
    )
    module: Any = objective.loss
    widths = torch.tensor([[1.0], [9.0]], dtype=F64)
    for _ in range(150):
        objective(lambda y: y.square().sum(-1) / (2 * widths), x, rng)
    first, second = module.epsilon.flatten().tolist()
    assert abs(second / first - 9) < 2  # of a law three times as wide, and apart from the other seed's
    chain = mala(lambda y: y.square().sum(-1) / (2 * widths), x, rng, steps=50, step_size=module.epsilon.expand(2, 200))
    assert ((chain.acceptance.mean(-1) - 0.57).abs() < 0.05).all()
    assert ((module.chains[:, :, 0].var(-1) / widths.flatten()).log().abs() < 0.3).all()


def test_noise_contrastive_estimation_finds_log_z_with_the_energy_held_fixed() -> None:
    x, truth = 0.8 * normal(0, 5000, 2), math.log(2 * math.pi * 0.64)
    objective = build("noise_contrastive_estimation", 1.2 * normal(1, 2000, 2), ratio=4)
    module: Any = objective.loss
    rng, path = Rng(5), []
    for _ in range(80):
        loss = objective(lambda y: y.square().sum(-1) / 1.28, x, rng)
        (gradient,) = torch.autograd.grad(loss.mean(), module.log_z)
        module.log_z.data -= gradient
        path.append(module.log_z.item())
    # a constant added to the energy is the same as one added to log Z
    module.log_z.data.fill_(truth)
    family = lambda y, theta: y.square().sum(-1) / 1.28 + theta  # noqa: E731
    mean, error = slope(objective, family, 0.0, x, 6)
    curvature = (slope(objective, family, 0.1, x, 6)[0] - slope(objective, family, -0.1, x, 6)[0]) / 0.2
    assert abs(mean) < 4 * error
    assert abs(sum(path[40:]) / 40 - truth) < 4 * error / curvature


@pytest.mark.parametrize("samples", [1, 4, 16])
@pytest.mark.parametrize("w", [0.0, 0.25, 1.0, 4.0])
def test_energy_discrepancy_is_stationary_at_the_truth_for_w_of_one_only(samples: int, w: float) -> None:
    objective = build("energy_discrepancy", samples=samples, w=w, sigma=0.7)
    mean, error = slope(objective, quadratic, 1.0, normal(samples, 400_000 // samples, 1), 2)
    assert (abs(mean) < 4 * error) == (w == 1.0)


def test_energy_discrepancy_of_one_sample_is_half_conditional_nce_at_root_two_sigma() -> None:
    x, sigma = normal(0, 100_000, 2), 0.6

    def energy(y: Tensor) -> Tensor:
        return (y.square() + (2 * y).sin()).sum(-1)

    ours = build("energy_discrepancy", samples=1, w=1.0, sigma=sigma)(energy, x, Rng(1))
    theirs = build("conditional_noise_contrastive_estimation", samples=1, sigma=math.sqrt(2) * sigma)(energy, x, Rng(2))
    difference = float(ours.mean() - 0.5 * theirs.mean())
    assert abs(difference) < 4 * math.sqrt(float(ours.var() + 0.25 * theirs.var()) / len(x))


def test_finite_differences_miss_sliced_score_matching_by_the_square_of_their_step() -> None:
    x = normal(0, 500, 3)

    def energy(y: Tensor) -> Tensor:
        return y.cosh().sum(-1) + (y[:, 0] * y[:, 1]).sin()

    def loss(epsilon: float) -> Tensor:
        return build("finite_difference_sliced_score_matching", epsilon=epsilon)(energy, x, Rng(4))

    limit = loss(1e-3)
    coarse, fine = ((loss(epsilon) - limit).mean().abs() for epsilon in (0.2, 0.1))
    assert 3.9 < float(coarse / fine) < 4.1


@pytest.mark.parametrize("dim", [2, 8, 32])
@pytest.mark.parametrize("name", ["sliced_score_matching", "finite_difference_sliced_score_matching"])
def test_sliced_losses_are_smallest_at_the_precision_of_a_gaussian_in_every_dimension(name: str, dim: int) -> None:
    # E = θ‖x‖²/2 makes the expected loss ½θ²d - θd, smallest at 1; a trace divided by d would put it at 1/d
    x, objective = normal(dim, 40_000, dim), build(name)
    at_zero, error_zero = slope(objective, quadratic, 0.0, x, 1)
    at_two, error_two = slope(objective, quadratic, 2.0, x, 2)
    assert abs(at_zero + dim) < 4 * error_zero + 1e-3 * dim
    assert abs(at_two - dim) < 4 * error_two + 1e-3 * dim


def test_sliced_score_matching_varies_less_than_with_a_sliced_score() -> None:
    x = normal(0, 20_000, 8)
    direction = Rng(1).rademacher_like(x)

    def energy(y: Tensor) -> Tensor:
        return 0.5 * y.square().sum(-1)

    reduced = build("sliced_score_matching")(energy, x, Rng(1))
    plain = 0.5 * (direction * x).sum(-1).square() - x.shape[-1]
    assert abs(float(reduced.mean() - plain.mean())) < 4 * float(plain.std()) / math.sqrt(len(x))
    assert float(reduced.var()) < 0.5 * float(plain.var())


def test_minimum_probability_flow_has_its_closed_form_on_a_gaussian() -> None:
    # x ~ N(0, 1), E = x²/2, y = x + σz: E exp(½(E(x) - E(y))) = E exp(-σxz/2 - σ²z²/4) = (1 + σ²/2 - σ²/4)^-½
    sigma, n = 0.5, 200_000
    loss = build("minimum_probability_flow", sigma=sigma)(lambda y: 0.5 * y.square().sum(-1), normal(0, n, 1), Rng(1))
    exact = (1 + sigma**2 / 4) ** -0.5
    assert abs(float(loss.mean()) - exact) < 4 * float(loss.std()) / math.sqrt(n)


def test_the_best_stein_critic_finds_the_fisher_divergence_over_four_lambda() -> None:
    # s - ∇log p = (1 - θ)x under E = θ‖x‖²/2 and p = N(0, I), so the Fisher divergence is d(1 - θ)²
    theta, penalty, dim = 2.0, 2.0, 2
    objective = build("learned_stein_discrepancy", penalty=penalty, width=32)
    (group,) = objective.param_groups()
    assert group["maximize"]
    optimiser = torch.optim.Adam([{**group, "lr": 1e-2}])
    rng, data = Rng(1), Rng(2, "data")

    def energy(y: Tensor) -> Tensor:
        return 0.5 * theta * y.square().sum(-1)

    for step in range(500):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / 500)
        loss = objective(energy, data.normal((512, dim), F64), rng)
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    x = normal(7, 50_000, dim)
    exact = dim * (1 - theta) ** 2 / (4 * penalty)
    value = objective(energy, x, rng).detach()
    assert abs(float(value.mean()) - exact) < 4 * float(value.std()) / math.sqrt(len(x)) + 0.03 * exact
    critic: Any = objective.loss
    error = critic.critic(x, rng).detach() - (1 - theta) * x / (2 * penalty)
    assert float(error.square().sum(-1).mean()) < 0.03 * exact / penalty


def test_maximum_likelihood_has_the_exact_gradient_on_a_gaussian() -> None:
    # d/dθ of E(x) + log Z with E = θ‖x‖²/2 in two dimensions: ‖x‖²/2 - 1/θ
    theta = torch.tensor(1.7, dtype=F64, requires_grad=True)
    x = normal(0, 300, 2)
    objective = build("maximum_likelihood", 3 * normal(1, 2000, 2), points=128)
    (gradient,) = torch.autograd.grad(objective(lambda y: 0.5 * theta * y.square().sum(-1), x, Rng(1)).mean(), theta)
    exact = float(0.5 * x.square().sum(-1).mean()) - 1 / 1.7
    assert abs(float(gradient) - exact) < 1e-8


def test_improved_contrastive_divergence_adds_the_energy_at_the_place_the_parameters_drive_to() -> None:
    # one transition under E = θx²/2: x⁻ = x - (ε/2)θx + √ε z, so dE_sg(x⁻)/dθ = -θx⁻·(ε/2)x, all by hand
    epsilon, theta = 0.3, torch.tensor(1.5, dtype=F64, requires_grad=True)
    train, x = normal(1, 500, 1), normal(0, 64, 1)
    gradients = []
    for weight in (0.0, 1.0):
        objective = build(
            "improved_contrastive_divergence",
            train,
            chains=300,
            restart=0.0,
            steps=1,
            step_size=epsilon,
            energy_weight=weight,
            entropy_weight=0.0,
        )
        module: Any = objective.loss
        before = module.chains.clone()
        loss = objective(lambda y: 0.5 * theta * y.square().sum(-1), x, Rng(4))
        gradients.append(float(torch.autograd.grad(loss.sum(), theta)[0]))
    start, end = before.squeeze(-1), module.chains.squeeze(-1)
    moved = start != end
    third = -(1.5 * end * 0.5 * epsilon * start)[moved].sum()
    assert abs(gradients[1] - gradients[0] - float(third)) < 1e-9


def test_the_slope_of_the_generators_law_is_that_of_a_gaussian_for_a_linear_generator() -> None:
    # g(z) = z and noise τ: x⁻ ~ N(0, 1 + τ²), whose slope is -x / (1 + τ²)
    objective = build("variational_entropy_regularised", normal(0, 100, 1), latent=1, samples=256, proposal=0.5)
    module: Any = objective.loss
    module.generate = lambda z: z
    tau = 0.5
    module.log_tau.data.fill_(math.log(tau))
    rng = Rng(1)
    z = normal(2, 4000, 1)
    x = z + tau * normal(3, 4000, 1)
    error = module.log_law_slope(x, z, rng).detach() + x / (1 + tau**2)
    assert abs(float(error.mean())) < 4 * float(error.std()) / math.sqrt(len(x)) + 0.01
    assert float(error.square().mean().sqrt()) < 0.3
