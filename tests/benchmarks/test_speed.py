"""Timings of the parts that a run is made of; `tox -e bench` runs them, an ordinary test run calls each once."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.api import Rng, langevin, mala, score
from bench.costs.step_time import Bench, Setting
from bench.evaluation.trained_energy import TrainedEnergy
from bench.plugins import builders, registry
from bench.plugins.builders import pick_device

ROUNDS = 31  # fewer than eight give no interval, and as few as eight a wide one
SETTING = Setting(network="mlp[width=32,depth=2]", batch=64)


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_step(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(Bench.build(SETTING, [name], pick_device("cpu")).steps[name].call)


def test_score(benchmark: BenchmarkFixture) -> None:
    network = builders.network(SETTING.network, (2,), Rng(0, "init"))
    benchmark(score, network, Rng(0).normal((SETTING.batch, 2)))


@pytest.mark.parametrize("sampler", [langevin, mala])
def test_ten_transitions(benchmark: BenchmarkFixture, sampler: object) -> None:
    network, rng = builders.network(SETTING.network, (2,), Rng(0, "init")), Rng(0)
    benchmark(sampler, network, rng.normal((SETTING.batch, 2)), rng, steps=10, step_size=0.01)


@pytest.mark.parametrize("name", [n for n in registry.names("metrics") if not builders.metric(n).info.dear])
def test_metric(benchmark: BenchmarkFixture, name: str) -> None:
    sizes = "n_train=512,n_valid=256,n_test=256"
    found = (builders.dataset(f"{where}[{sizes}]", Rng(0, "data")) for where in ("eight_gaussians", "digits"))
    data = next(d for d in found if builders.metric(name).info.needs <= d.provides | {"samples", "log_z"})
    network = builders.network(SETTING.network, tuple(data.train.shape[1:]), Rng(0, "init"))
    energy = TrainedEnergy(network, log_z_estimate=0.0)
    call = (energy, data.valid, data, Rng(0, "eval"))
    benchmark.pedantic(builders.metric(name).all, call, rounds=ROUNDS, warmup_rounds=1)
