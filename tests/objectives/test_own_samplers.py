"""Samplers that descend through noise levels, and the samplers that objectives declare as their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Data, Rng, ancestral, annealed, largest_level, level_by_level, noise_levels
from bench.common.run_spec import EvaluationSpec
from bench.evaluation.sampling import all_samples
from bench.plugins import builders, registry
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite

N = 6_000
MEANS, WEIGHTS, SPREAD = (-1.5, 1.0), (0.3, 0.7), 0.4
INFOS = {name: registry.find("objectives", name).info for name in registry.names("objectives")}
LEVELLED = [name for name, info in INFOS.items() if info.sampler is not None and info.energy == "noise"]
LIKE = torch.zeros(N, 1, dtype=torch.float64)


def energy(x: Tensor, sigma: Tensor, weights: tuple[float, float] = WEIGHTS, spread: float = SPREAD) -> Tensor:
    """-log density of two Gaussians convolved with N(0, σ²)."""
    variance = spread**2 + sigma.square()
    parts = [
        math.log(w) - 0.5 * (x.squeeze(-1) - m) ** 2 / variance - 0.5 * variance.log()
        for m, w in zip(MEANS, weights, strict=True)
    ]
    return -torch.stack(parts).logsumexp(0)


def other_weights(x: Tensor, sigma: Tensor) -> Tensor:
    return energy(x, sigma, weights=(0.4, 0.6))


def other_spread(x: Tensor, sigma: Tensor) -> Tensor:
    return energy(x, sigma, spread=0.5)


WRONG = (other_weights, other_spread)


def off(draws: Tensor, sigma: float) -> float:
    """The largest error of a moment or of the modes' weights, in standard errors."""
    x = draws.squeeze(-1)
    variance = SPREAD**2 + sigma**2
    mean = sum(w * m for m, w in zip(MEANS, WEIGHTS, strict=True))
    square = sum(w * (m**2 + variance) for m, w in zip(MEANS, WEIGHTS, strict=True))
    tails = [0.5 * math.erfc((m + 0.3) / math.sqrt(2 * variance)) for m in MEANS]
    left = sum(w * t for t, w in zip(tails, WEIGHTS, strict=True))
    # how far from the nearer mode: the spread of a mode, which the weights do not hide
    nearer = torch.stack([(x - m).square() for m in MEANS]).amin(0)
    grid = torch.linspace(-9, 9, 40_001, dtype=torch.float64).unsqueeze(-1)
    law = (-energy(grid, torch.full((len(grid),), sigma, dtype=torch.float64))).softmax(0)
    near = float(law @ torch.stack([(grid.squeeze(-1) - m).square() for m in MEANS]).amin(0))
    views = ((x, mean), (x.square(), square), ((x < -0.3).double(), left), (nearer, near))
    return max(abs(float(v.mean()) - truth) / (float(v.std()) / math.sqrt(len(v))) for v, truth in views)


def test_the_largest_level_is_found_from_noise() -> None:
    draws = largest_level(energy, LIKE, Rng(0), sigma=3.0)
    assert off(draws, 3.0) < 4
    assert off(draws, 2.5) > 4


@pytest.mark.parametrize(("adjusted", "step_size", "steps"), [(True, 0.5, 30), (False, 0.1, 150)])
def test_annealed_chains_have_the_datas_moments_and_wrong_energies_are_told_apart(
    adjusted: bool, step_size: float, steps: int
) -> None:
    sigmas = noise_levels(0.2, 3.0, 5, LIKE)

    def draw(model: Any) -> Tensor:
        start = largest_level(model, LIKE, Rng(0), sigma=3.0)
        return annealed(model, start, Rng(1), sigmas=sigmas, steps=steps, step_size=step_size, adjusted=adjusted)

    assert off(draw(energy), 0.2) < (4 if adjusted else 6)
    assert min(off(draw(wrong), 0.2) for wrong in WRONG) > 8


def test_ancestral_draws_have_the_datas_moments_and_wrong_energies_are_told_apart() -> None:
    sigmas = noise_levels(0.05, 4.0, 100, LIKE)

    def draw(model: Any) -> Tensor:
        return ancestral(model, largest_level(model, LIKE, Rng(0), sigma=4.0), Rng(1), sigmas=sigmas.flip(0))

    assert off(draw(energy), 0.05) < 5
    assert min(off(draw(wrong), 0.05) for wrong in WRONG) > 8


def test_posterior_draws_level_by_level_are_right_for_levels_that_lie_far_apart() -> None:
    start = largest_level(energy, LIKE, Rng(0), sigma=4.0)
    sigmas = [4.0, 1.0, 0.3, 0.05]
    assert off(level_by_level(energy, start, Rng(1), sigmas=sigmas, steps=40), 0.05) < 4
    assert off(ancestral(energy, start, Rng(1), sigmas=sigmas), 0.05) > 8


def test_an_ancestral_step_is_the_posterior_of_a_gaussian_prior() -> None:
    # data 0 exactly: x at σ' given x at σ is N((σ'/σ)² x, (σ² - σ'²)(σ'/σ)²)
    x = torch.full((N, 1), 2.0, dtype=torch.float64)
    after = ancestral(lambda u, s: u.square().sum(-1) / (2 * s.square()), x, Rng(0), sigmas=[1.0, 0.5])
    mean, variance = 0.5, 0.75 * 0.25
    assert abs(float(after.mean()) - mean) < 4 * math.sqrt(variance / N)
    assert abs(float(after.var()) - variance) < 4 * variance * math.sqrt(2 / N)
    ended = ancestral(lambda u, s: u.square().sum(-1) / (2 * s.square()), x, Rng(0), sigmas=[1.0, 0.5, 0.0])
    assert float(ended.abs().max()) < 1e-9


@pytest.mark.parametrize("name", LEVELLED)
def test_an_objectives_own_sampler_draws_its_smallest_level_and_sees_a_wrong_energy(name: str) -> None:
    hyper = {"sigma_min": 0.05, **INFOS[name].proof}
    objective = builders.objective(name, LIKE[:8], Rng(0), local_scale=1.0, **hyper)
    sigma = float(objective.values["sigma_min"])

    def draw(model: Any) -> Tensor:
        drawn = objective.sample(model, LIKE, Rng(1))
        assert drawn is not None
        return drawn

    assert off(draw(energy), sigma) < 6
    assert min(off(draw(wrong), sigma) for wrong in WRONG) > 8


def test_levels_that_preserve_the_variance_are_sampled_too() -> None:
    name = "time_dependent_diffusion_contrastive_divergence"
    hyper = {"kernel": "vp", "sigma_min": 0.3, "sigma_max": 0.95, "levels": 3, "steps": 60}
    objective = builders.objective(name, LIKE[:8], Rng(0), local_scale=1.0, **hyper)

    def preserving(x: Tensor, sigma: Tensor) -> Tensor:
        """The law of αx + σε is that of x + (σ/α)ε, in units of α."""
        alpha = (1 - sigma.square()).sqrt()
        return energy(x / alpha.unsqueeze(-1), sigma / alpha)

    drawn = objective.sample(preserving, LIKE, Rng(1))
    assert drawn is not None
    assert off(drawn, 0.3 / math.sqrt(1 - 0.09)) < 6


def test_short_run_draws_are_its_chains_and_not_the_law_of_its_energy() -> None:
    train = Rng(0, "data").normal((2_000, 1), torch.float64)
    long, short = (
        builders.objective("short_run_mcmc", train, Rng(0), local_scale=1.0, steps=steps, step_size=0.2).sample(
            lambda x: 0.5 * x.square().sum(-1), LIKE, Rng(1)
        )
        for steps in (100, 3)
    )
    assert long is not None
    assert short is not None
    known = 1 / (1 - 0.2 / 4)
    error = known * math.sqrt(2 / N)
    assert abs(float(long.square().mean()) - known) < 4 * error
    assert abs(float(short.square().mean()) - known) > 10 * error


def test_an_objective_without_a_sampler_says_none_and_a_spec_names_the_sampler() -> None:
    assert (
        builders.objective("denoising_score_matching", LIKE[:8], Rng(0), local_scale=1.0).sample(energy, LIKE, Rng(0))
        is None
    )
    specs = plan_runs(read_suite("smoke"), Selection(seeds=(0,)), "cpu")
    named = {spec.objective.name: spec.objective.sampler for spec in specs}
    assert named["short_run_mcmc"] == "sample"
    assert named["denoising_score_matching"] is None
    assert all(name is None or isinstance(name, str) for name in named.values())


def test_a_buffers_own_draws_are_its_chains_and_no_chain_comes_twice_while_there_are_others() -> None:
    train = Rng(0, "data").normal((500, 2))
    objective = builders.objective("persistent_contrastive_divergence", train, Rng(0), chains=100, local_scale=1.0)
    chains = set(map(tuple, objective.loss.chains.tolist()))

    def drawn(n: int) -> list[tuple[float, ...]]:
        sample = objective.sample(lambda x: x.sum(-1), train[:n], Rng(1))
        assert sample is not None
        return list(map(tuple, sample.tolist()))

    assert set(drawn(100)) == chains
    assert len(set(drawn(60))) == 60
    assert len(set(drawn(60)) & chains) == 60
    assert len(drawn(130)) == 130
    assert set(drawn(130)) == chains


def _samples(name: str, data: Data, steps: int) -> Mapping[str, Tensor | str]:
    settings = EvaluationSpec(
        metrics={"sliced_wasserstein": ""}, samples=50, sampler_steps=steps, samplers=("continued", "own", "noise")
    )
    objective = builders.objective(name, data.train, Rng(0), local_scale=data.local_scale)
    return all_samples(lambda x: 0.5 * x.square().sum(-1), objective, data, settings, Rng(1))


def test_continued_chains_begin_where_the_objectives_own_sampler_ends() -> None:
    data = replace(builders.dataset("two_moons", Rng(0, "data")), grid=None)
    still, moved = (_samples("persistent_contrastive_divergence", data, steps) for steps in (0, 200))
    assert list(still) == ["continued", "own", "noise"]
    assert torch.equal(still["own"], moved["own"])  # type: ignore[arg-type]
    assert torch.equal(still["continued"], still["own"])  # type: ignore[arg-type]
    assert not torch.equal(moved["continued"], moved["own"])  # type: ignore[arg-type]
    assert abs(float(moved["continued"].var()) - 1) < 4 * math.sqrt(2 / 100)  # type: ignore[union-attr]


def test_without_a_sampler_of_its_own_an_objective_is_judged_by_chains_from_noise_and_has_nothing_to_continue() -> None:
    data = replace(builders.dataset("two_moons", Rng(0, "data")), grid=None)
    found = _samples("denoising_score_matching", data, 5)
    assert torch.equal(found["own"], found["noise"])  # type: ignore[arg-type]
    assert found["continued"] == "the objective has no sampler of its own"


def test_chains_that_a_suite_names_are_chains_on_a_grid_too() -> None:
    data = builders.dataset("two_moons", Rng(0, "data"))
    assert data.grid is not None
    objective = builders.objective("denoising_score_matching", data.train, Rng(0), local_scale=data.local_scale)
    settings = EvaluationSpec(metrics={"sliced_wasserstein": ""}, samples=50, sampler_steps=5)
    without = replace(data, grid=None)

    def draw(some: Data, samplers: tuple[Any, ...]) -> Mapping[str, Tensor | str]:
        told = replace(settings, samplers=samplers)
        return all_samples(lambda x: 0.5 * x.square().sum(-1), objective, some, told, Rng(1))

    named = ("noise", "tempered", "own", "data")
    on_grid, off_grid = draw(data, named), draw(without, named)
    for name in named:
        assert torch.equal(on_grid[name], off_grid[name]), name  # type: ignore[arg-type]
    assert not torch.equal(draw(data, ())[""], draw(without, ())[""])  # type: ignore[arg-type]


def test_tempered_chains_share_modes_out_more_evenly_than_where_noise_happens_to_fall() -> None:
    """Two wells at ±3 with masses .9 and .1: chains at one temperature stay on the side that they began on."""
    data = Data("wells", *Rng(0).normal((3, 100, 1)).mul(3), value_range=(-9.0, 9.0))
    chains = ("noise", "tempered")
    settings = EvaluationSpec(metrics={"sliced_wasserstein": ""}, samples=8000, sampler_steps=300, samplers=chains)

    def energy(x: Tensor) -> Tensor:
        left, right = (-0.5 * ((x[:, 0] - centre) / 0.75).square() for centre in (-3.0, 3.0))
        return -torch.logaddexp(left + math.log(0.9), right + math.log(0.1))

    objective = builders.objective("denoising_score_matching", data.train, Rng(0), local_scale=data.local_scale)
    drawn = all_samples(energy, objective, data, settings, Rng(1))
    shares = []
    for name in chains:
        x = drawn[name]
        assert isinstance(x, Tensor)
        shares.append(float((x < 0).float().mean()))
        assert float(x[x < 0].std()) == pytest.approx(0.75, rel=0.1), "at the end the temperature is 1"
    # the standard error of a share of 8,000 is at most .0056, of a difference .0079
    assert shares[0] + 4 * 0.0079 < shares[1] < 0.9 + 4 * 0.0056
