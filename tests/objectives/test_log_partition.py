"""Objectives that estimate log Z: against closed forms and quadrature, and the metric that reads them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api import Energy, FittedGaussian, Rng, WeightedChains
from bench.contract import stationarity
from bench.evaluation.evaluator import evaluate
from bench.plugins import builders, registry
from bench.runner.single_run import evaluate_run
from bench.suites import expand, schema
from bench.training.loop import Outcome
from bench.training.stopwatch import Stopwatch
from bench.training.trainer import Trainer

F64 = torch.float64
CPU = torch.device("cpu")
BOUND = 0.05


def normal(seed: int, n: int, dim: int) -> Tensor:
    return Rng(seed, "data").normal((n, dim), F64)


def estimators() -> list[str]:
    """Objectives that say what log Z is."""
    x = normal(0, 200, 2)
    plugins = [registry.find("objectives", name) for name in registry.names("objectives")]
    with_memory = [plugin.name for plugin in plugins if plugin.has_memory]
    return [n for n in with_memory if builders.objective(n, x, Rng(0), local_scale=1.0).log_z is not None]


ESTIMATORS = estimators()


def test_some_objectives_estimate_log_z_and_functions_do_not() -> None:
    assert len(ESTIMATORS) >= 3
    assert builders.objective("implicit_score_matching", normal(0, 9, 2), Rng(0)).log_z is None


@pytest.mark.parametrize("name", ESTIMATORS)
def test_log_z_of_an_energy_held_fixed_is_its_closed_form(name: str) -> None:
    seeds, data = Rng(range(8)), Rng(range(8), "data")
    x_train = data.normal((8, 2_000, 2), F64)
    objective = builders.objective(name, x_train, seeds, local_scale=1.0)
    static = objective.info.energy == "static"

    def energy(x: Tensor, *sigma: Tensor) -> Tensor:
        variance = 1 if static else 1 + sigma[0].square()
        return x.square().sum(-1) / (2 * variance) + (0 if static else (2 * math.pi * variance).log()) + 0.3

    for _ in range(2):  # momentum carries the first fit beyond its end
        stationarity.settle(objective, energy, lambda: data.normal((8, 256, 2), F64), seeds)
    assert objective.log_z is not None
    error = objective.log_z.squeeze(-1) - (math.log(2 * math.pi) * static - 0.3)
    assert abs(float(error.mean())) < 4 * float(error.std()) / math.sqrt(8) + 0.01
    assert float(error.abs().max()) < 3 * BOUND


@pytest.mark.parametrize("name", ESTIMATORS)
def test_log_z_of_a_trained_network_is_that_of_quadrature(name: str) -> None:
    selection = expand.Selection(objectives=(name,), seeds=(0,))
    (planned,) = expand.plan_runs(schema.read_suite("smoke"), selection, "cpu")
    trainer = Trainer(planned, [100, 101], CPU)
    for t in range(planned.budget.steps):
        trainer.step(t)
    for model in trainer.models:
        weights = {"last": model.weights, "ema": model.average}
        energies: dict[str, Energy] = {k: model.energy_with(w) for k, w in weights.items()}
        found = evaluate(energies, {k: {} for k in weights}, model.data, ["log_z_error"], Rng(0, "eval"))["log_z_error"]
        assert found["last"]["value"] < 3 * BOUND
        assert found["last"]["value"] == pytest.approx(abs(found["last"]["detail"]["error"]))
        assert found["ema"]["reason"] == "n/a (needs log_z)"  # the averaged weights have another log Z


def test_an_estimate_of_log_z_is_judged_where_a_suite_looks_at_averaged_weights_alone(tmp_path: Path) -> None:
    selection = expand.Selection(objectives=("noise_contrastive_estimation", "contrastive_divergence"), seeds=(0,))
    for planned in expand.plan_runs(schema.read_suite("smoke"), selection, "cpu"):
        looked_at = replace(planned.evaluation, variants=("ema",), samples=8, sampler_steps=1)
        trainer = Trainer(replace(planned, evaluation=looked_at), 0, CPU)
        found = evaluate_run(trainer.models[0], Outcome(), Stopwatch(CPU), tmp_path)["metrics"]
        assert set(found["kl"]) == {"ema"}
        estimated = planned.objective.name in ESTIMATORS
        assert set(found["log_z_error"]) == ({"ema", "last"} if estimated else {"ema"})
        assert not estimated or found["log_z_error"]["last"]["value"] > 0


def test_log_z_of_another_shape_is_refused() -> None:
    objective = builders.objective("noise_contrastive_estimation", normal(0, 9, 2), Rng(0))
    module: Any = objective.loss
    module.log_z = nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match="one number a seed"):
        _ = objective.log_z


def test_the_error_of_log_z_is_that_of_the_estimate() -> None:
    data = builders.dataset("two_moons", Rng(0, "data"))
    log_density = data.log_density
    assert log_density is not None

    def energy(x: Tensor) -> Tensor:
        return 2.5 - log_density(x)

    energy.log_z_estimate = -2.2  # type: ignore[attr-defined]
    found = builders.metric("log_z_error")(energy, data.test[:0], replace(data), Rng(0, "eval"))
    assert found.certified
    assert found.value == pytest.approx(0.3, abs=1e-5)


def test_a_fitted_gaussian_has_the_density_of_its_draws() -> None:
    mixing = torch.tensor([[1.0, 0.0], [0.7, 0.3]], dtype=F64)
    x = normal(0, 5_000, 2) @ mixing.T + 1.0
    law = FittedGaussian(x, Rng(0))
    draws, log_density = law.draw(x, Rng(1))
    truth = torch.distributions.MultivariateNormal(x.mean(0), law.factor @ law.factor.mT)
    assert (law.log_density(draws, Rng(0)) - log_density).abs().max() < 1e-9
    assert (truth.log_prob(draws) - log_density).abs().max() < 1e-9
    assert (law.factor @ law.factor.mT - x.T.cov()).abs().max() < 2e-3


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("resample", [0.0, 0.5, 1.0])
def test_weights_follow_an_energy_that_moves_faster_than_the_chains(steps: int, resample: float) -> None:
    # E_t = (x - m_t)²/2v_t with a step as long as the variance: chains alone would be far from it
    seeds = range(40)
    rng, x_train = Rng(seeds), Rng(seeds, "data").normal((40, 500, 1), F64)
    chains = WeightedChains(x_train, rng, walkers=400, step_size=0.5, resample=resample)
    for t in range(6):
        mean, variance = 0.25 * t, 0.9**t
        x, weights = chains.advance(lambda x, m=mean, v=variance: (x - m).square().sum(-1) / (2 * v), rng, steps=steps)
    ratio = chains.log_z.exp().squeeze(-1) / math.sqrt(2 * math.pi * variance)
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(40)
    for exact, values in ((mean, x), (variance, (x - mean).square())):
        found = (weights * values.squeeze(-1)).sum(-1)
        assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / math.sqrt(40) + 0.01
    unweighted = x.mean((-2, -1))
    assert resample or abs(float(unweighted.mean()) - mean) > 4 * float(unweighted.std()) / math.sqrt(40)


def test_walkers_that_no_gradient_sees_keep_log_z_where_those_of_the_gradient_lose_it() -> None:
    selection = expand.Selection(objectives=("jarzynski_persistent_chains[chains=128,witnesses=4096]",), seeds=(0,))
    (planned,) = expand.plan_runs(schema.read_suite("smoke"), selection, "cpu")
    trainer = Trainer(planned, 100, CPU)
    for t in range(planned.budget.steps):
        trainer.step(t)
    module: Any = trainer.learner.objective.loss
    assert float(module.chains.log_z) < float(module.log_z) - 5 * BOUND
