"""What every discovered metric promises: it tells the truth from a fake, from its rng alone, in little time."""

from __future__ import annotations

import math
import time

import pytest
import torch

from bench.api import Data, Rng
from bench.core.quadrature import CachedFunction, freeze
from bench.plugins import builders, registry
from tests.helpers.dataset_params import DATASETS
from tests.helpers.mixtures import QUARTET, QUARTET_LAW, Mixture, cheap, data_of, measure, value_of

METRICS = registry.names("metrics")
EXACT = [name for name in METRICS if (needs := builders.metric(name).info.needs) >= {"grid"} and "log_z" not in needs]


@pytest.fixture(scope="module")
def data() -> Data:
    return data_of(QUARTET_LAW)


def applies(name: str, data: Data) -> bool:
    return builders.metric(name).info.needs <= data.provides | {"samples"}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_tells_the_truth_from_a_fake(name: str, data: Data) -> None:
    if not applies(name, data):
        pytest.skip("needs more than a density in two dimensions")
    fake = Mixture([[1.1 * x + 0.3, y] for x, y in QUARTET], 0.4, [0.4, 0.3, 0.2, 0.1])
    right = measure(name, QUARTET_LAW.energy, QUARTET_LAW.sample(2000, Rng(5)), data)
    wrong = measure(name, fake.energy, fake.sample(2000, Rng(5)), data)
    worse = 1 if builders.metric(name).info.better == "lower" else -1
    noise = math.hypot(right.stderr or 0.0, wrong.stderr or 0.0)
    assert worse * (value_of(wrong) - value_of(right)) > max(4 * noise, 1e-3)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_does_not_see_a_constant_in_the_energy(name: str, data: Data) -> None:
    if not applies(name, data):
        pytest.skip("needs more than a density in two dimensions")
    model = Mixture(QUARTET, 0.35)
    samples = model.sample(500, Rng(5))
    plain = measure(cheap(name), model.energy, samples, data)
    moved = measure(cheap(name), lambda x: model.energy(x) + 12.5, samples, data)
    # rounding can make a chain of a dear metric accept what it refused
    noise = 4 * (plain.stderr or 0.0) if builders.metric(name).info.dear else 0.0
    assert value_of(moved) == pytest.approx(value_of(plain), rel=1e-9, abs=max(1e-9, noise))
    close = 0.2 if noise else 1e-6
    assert moved.stderr == (None if plain.stderr is None else pytest.approx(plain.stderr, rel=close))
    assert (moved.certified, moved.n) == (plain.certified, plain.n)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_depends_on_its_rng_alone(name: str, data: Data) -> None:
    if not applies(name, data):
        pytest.skip("needs more than a density in two dimensions")
    samples = QUARTET_LAW.sample(500, Rng(5))
    before = samples.clone(), data.test.clone()
    torch.manual_seed(0)
    first = measure(cheap(name), QUARTET_LAW.energy, samples, data)
    torch.manual_seed(1)
    assert measure(cheap(name), QUARTET_LAW.energy, samples, data) == first
    assert torch.equal(samples, before[0])
    assert torch.equal(data.test, before[1])


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_no_value_where_there_are_no_numbers(name: str, data: Data) -> None:
    if not applies(name, data):
        pytest.skip("needs more than a density in two dimensions")
    estimate = measure(name, lambda x: x.sum(-1) * math.nan, data.train * math.nan, data)
    assert estimate.value is None
    assert estimate.stderr is None
    assert "finite" in estimate.reason or "nan" in estimate.reason


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_costs_few_passes_over_a_grid_and_leaves_no_gradients(name: str) -> None:
    single = freeze(data_of(QUARTET_LAW, n=8192, dtype=torch.float32))
    if not applies(name, single) or builders.metric(name).info.dear:
        pytest.skip("needs more than a density in two dimensions, or says that it is dear")
    layers = torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 1)
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(0))
    grid = Rng(0).normal((300**2, 2))
    passes, seconds = [], []
    for _ in range(3):  # in turns: the machine may be busy
        start = time.process_time()
        with torch.no_grad():
            network(grid)
        passes.append(time.process_time() - start)
        estimate = measure(name, network, single.train, single)
        seconds.append(time.process_time() - start - passes[-1])
    assert math.isfinite(value_of(estimate))
    assert all(weight.grad is None for weight in network.parameters())
    assert min(seconds) < 40 * min(passes)


@pytest.mark.parametrize("name", METRICS)
def test_freezing_changes_no_number(name: str, data: Data) -> None:
    if not applies(name, data):
        pytest.skip("needs more than a density in two dimensions")
    model = Mixture(QUARTET, 0.35)
    plain = measure(cheap(name), model.energy, data.train, data)
    assert measure(cheap(name), CachedFunction(model.energy), data.train, freeze(data)) == plain


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_truth_of_a_discovered_data_set_is_perfect(dataset: str) -> None:
    data = freeze(builders.dataset(dataset, Rng(0, "data")))
    log_density = data.log_density
    if data.grid is None or log_density is None:
        pytest.skip("its density is not known")
    truth = CachedFunction(lambda x: 2.5 - log_density(x))
    for name in EXACT:
        # the score takes seconds where the density is a mixture along a curve
        if not applies(name, data) or "score" in builders.metric(name).info.needs:
            continue
        estimate = measure(name, truth, data.train, data)
        assert estimate.certified, (name, estimate.reason)
        perfect = data.entropy if name == "nll" else 0.0
        assert perfect is not None
        assert value_of(estimate) == pytest.approx(perfect, abs=max(1e-5, 4 * (estimate.stderr or 0.0))), name
