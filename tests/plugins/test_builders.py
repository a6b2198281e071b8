"""The loader: the contract that other people script against."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

from bench.api import Data, Estimate, Rng
from bench.common.errors import UsageError
from bench.core.declarations import OF_MODEL
from bench.core.search_spaces import StepSize
from bench.evaluation.trained_energy import TrainedEnergy
from bench.plugins import builders, registry
from tests.helpers.dataset_params import DATASETS
from tests.helpers.mixtures import cheap


def quadratic(x: torch.Tensor, *sigma: torch.Tensor) -> torch.Tensor:
    return 0.5 * x.flatten(1).square().sum(-1)


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_an_objective_loads_by_name_and_returns_one_loss_an_example(name: str) -> None:
    x, rng = Rng(0, "data").normal((64, 2)), Rng(0)
    module = builders.objective(name, x, rng)
    assert isinstance(module, nn.Module)
    assert module.info.name == name
    assert module.info.energy in ("static", "noise")
    assert module.info.minimiser in ("data", "smoothed", "none")
    assert module.info.family
    assert module.info.source
    assert module(quadratic, x, rng).shape == (64,)
    assert isinstance(module.param_groups(), list)


def test_step_size_is_multiplied_by_the_smallest_local_variance() -> None:
    x = Rng(0, "data").normal((64, 2))
    chains = [
        builders.objective("contrastive_divergence", x, Rng(0), local_scale=scale, step_size=step)(quadratic, x, Rng(1))
        for scale, step in ((0.1, 0.4), (0.2, 0.1))
    ]
    assert torch.allclose(*chains, atol=1e-6)


CHECKED = [
    name
    for name in registry.names("objectives")
    for p in registry.find("objectives", name).parameters.values()
    if isinstance(p.space, StepSize) and p.space.checked
]


@pytest.mark.parametrize("name", CHECKED)
def test_a_step_beyond_the_local_variance_is_refused_with_the_feasible_value(name: str) -> None:
    x = Rng(0, "data").normal((64, 2))
    with pytest.raises(UsageError, match=r"at most 1.*got 1\.5; use 0\.4 or less \(ε = 0\.004 here\)"):
        builders.objective(name, x, Rng(0), local_scale=0.1, step_size=1.5)
    with pytest.warns(UserWarning, match="biases the chains"):
        builders.objective(name, x, Rng(0), local_scale=0.1, step_size=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        builders.objective(name, x, Rng(0), local_scale=0.1, step_size=0.4)


def test_the_local_scale_is_estimated_where_none_is_given() -> None:
    x = Rng(0, "data").normal((4096, 2))
    module = builders.objective("contrastive_divergence", x, Rng(0))
    assert module.local_scale is not None
    assert 0.5 < module.local_scale < 2
    assert builders.objective("sliced_score_matching", x, Rng(0)).local_scale is None


def test_a_length_is_in_units_of_the_local_scale_unless_it_is_asked_for_in_units_of_the_data() -> None:
    x, name = Rng(0, "data").normal((64, 2)), "denoising_score_matching"
    relative = builders.objective(name, x, Rng(0), local_scale=0.2, sigma=0.5)
    absolute = builders.objective(name, x, Rng(0), sigma=0.1, sigma_units="data")
    assert relative.values == absolute.values == {"sigma": 0.1}
    assert absolute.local_scale is None
    assert torch.equal(relative(quadratic, x, Rng(1)), absolute(quadratic, x, Rng(1)))
    with pytest.raises(UsageError, match="sigma_units must be one of local_scale, data; got 'cm'"):
        builders.objective(name, x, Rng(0), sigma_units="cm")


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_local_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match="positive"):
        builders.objective("contrastive_divergence", Rng(0).normal((64, 2)), Rng(0), local_scale=scale)


def test_an_energy_of_the_wrong_shape_is_explained() -> None:
    x = Rng(0).normal((64, 2))
    module = builders.objective("contrastive_divergence", x, Rng(0), local_scale=0.1)
    with pytest.raises(ValueError, match=r"one value per example.*\(64, 1\)"):
        module(lambda u: quadratic(u).unsqueeze(-1), x, Rng(0))


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_loads_by_name_and_says_what_it_provides(name: str) -> None:
    data = builders.dataset(name, Rng(0, "data"))
    assert isinstance(data, Data)
    assert {"train", "valid", "test"} <= data.provides
    assert data.train.dtype == torch.float32


@pytest.mark.parametrize("name", registry.names("metrics"))
def test_a_metric_loads_by_name_and_gives_an_estimate(name: str) -> None:
    metric = builders.metric(cheap(name))
    some = (
        builders.dataset(f"{n}[n_train=64,n_valid=64,n_test=256]", Rng(0, "data"))
        for n in ("eight_gaussians", "digits")
    )
    data = next(found for found in some if metric.info.needs <= found.provides | OF_MODEL)
    energy = TrainedEnergy(lambda x, *_: quadratic(x), levels=(0.1, 9.0), conditional=True, log_z_estimate=0.0)
    estimates = metric.all(energy, data.valid, data, Rng(0, "eval"))
    assert estimates
    assert all(isinstance(estimate, Estimate) for estimate in estimates.values())


@pytest.mark.parametrize(
    ("device", "message"), [("gpu", "must be auto, cpu, cuda or cuda:N"), ("cuda", "torch sees no CUDA device")]
)
def test_a_device_that_is_not_there_is_refused(device: str, message: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(UsageError, match=message):
        builders.pick_device(device)
