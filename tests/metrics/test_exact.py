"""Metrics by quadrature: closed forms, errors that hold, and no certificate where a grid cannot see."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.plugins import builders, registry
from tests.helpers.mixtures import NORMAL, QUARTET, QUARTET_LAW, Mixture, data_of, exact, measure, repeated, value_of

METRICS = registry.names("metrics")
EXACT = [name for name in METRICS if (needs := builders.metric(name).info.needs) >= {"grid"} and "log_z" not in needs]


@pytest.mark.parametrize("name", ["nll", "kl", "mode_weight_error"])
@pytest.mark.parametrize("energy", [lambda x: x.sum(-1) * 0, lambda x: -3 * x[:, 0], lambda x: -x.square().sum(-1)])
def test_a_law_that_leaks_from_the_box_is_not_certified(name: str, energy: Callable[[Tensor], Tensor]) -> None:
    data = data_of(QUARTET_LAW)
    estimate = measure(name, energy, data.train, data)
    assert math.isfinite(value_of(estimate))
    assert not estimate.certified
    assert "not integrable" in estimate.reason
    assert "% of its mass" in estimate.reason


@pytest.mark.parametrize("sd", [1.0, 3.0, 5.0])
def test_a_model_that_is_wider_than_the_box_has_its_true_divergence(sd: float) -> None:
    data = data_of(Mixture([[0.0, 0.0]], 0.5))
    assert data.grid is not None
    estimate = measure("kl", lambda x: (x / sd).square().sum(-1) / 2, torch.empty(0), data)
    ratio = (0.5 / sd) ** 2
    assert estimate.certified == (sd < 5), estimate.reason
    assert value_of(estimate) == pytest.approx(ratio - 1 - math.log(ratio), abs=2e-3 if sd < 5 else 0.1)


@pytest.mark.parametrize("name", ["nll", "kl"])
def test_a_model_too_sharp_for_the_grid_is_not_certified(name: str) -> None:
    data = data_of(Mixture([[0.01, 0.0]], 0.1))
    estimate = measure(name, lambda x: (x / 0.006).square().sum(-1) / 2 - x[:, 0], torch.empty(0), data)
    assert not estimate.certified
    assert name == "kl" or "too sharp for the grid" in estimate.reason


@pytest.mark.parametrize("name", [name for name in EXACT if "log_density" in builders.metric(name).info.needs])
def test_data_too_sharp_for_the_grid_certify_nothing(name: str) -> None:
    law = Mixture([[0.01, 0.0]], 0.006)
    estimate = measure(name, law.energy, torch.empty(0), data_of(law))
    assert not estimate.certified
    assert "the grid finds a mass of 0.1874" in estimate.reason


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_energies_that_are_not_numbers_everywhere_give_no_number(name: str, bad: float) -> None:
    law = Mixture([[0.5, 0.0]], 0.5)

    def energy(x: Tensor) -> Tensor:
        # where the data is: +∞ there is a model without mass under the data, not a model that is broken
        return torch.where(x[:, 0] > 0.7, bad * x.square().sum(-1), law.energy(x))

    estimate = measure(name, energy, torch.empty(0), data_of(law))
    if name == "mode_weight_error" and bad == math.inf:
        assert value_of(estimate) == pytest.approx(0.0, abs=1e-9)
    else:
        assert estimate.value is None
        assert estimate.reason


def test_kl_and_nll_are_those_of_shifted_and_widened_gaussians() -> None:
    truth = Mixture([[0.1, -0.2]], 0.4)
    data = data_of(truth)
    shifted, widened = Mixture([[0.3, 0.1]], 0.4), Mixture([[0.1, -0.2]], 0.5)
    assert abs(exact("kl", truth, data)) < 1e-9
    assert exact("kl", shifted, data) == pytest.approx((0.2**2 + 0.3**2) / (2 * 0.4**2), rel=1e-6)
    assert exact("kl", widened, data) == pytest.approx(2 * (math.log(0.5 / 0.4) + 0.8**2 / 2 - 0.5), rel=1e-6)
    for model in (truth, shifted, widened):
        found = measure("nll", model.energy, data.train, data)
        entropy = 1 + math.log(2 * math.pi * 0.4**2)
        assert found.stderr is not None
        assert abs(value_of(found) - entropy - exact("kl", model, data)) < 4 * found.stderr


def test_kl_of_a_float32_energy_is_zero_at_the_truth_to_a_millionth() -> None:
    data = data_of(QUARTET_LAW, dtype=torch.float32)
    estimate = measure("kl", lambda x: 3.7 - QUARTET_LAW.log_density(x.double()).float(), data.train, data)
    assert abs(value_of(estimate)) < 1e-6


def test_kl_of_wrong_weights_is_that_of_the_weights() -> None:
    data = data_of(QUARTET_LAW)
    weights = [0.4, 0.3, 0.2, 0.1]
    expected = sum(0.25 * math.log(0.25 / w) for w in weights)
    assert exact("kl", Mixture(QUARTET, 0.3, weights), data) == pytest.approx(expected, abs=1e-4)


def test_kl_and_nll_work_in_one_dimension() -> None:
    data = data_of(Mixture([[0.0]], 0.5))
    assert exact("kl", Mixture([[0.3]], 0.5), data) == pytest.approx(0.3**2 / (2 * 0.5**2), rel=1e-6)
    assert exact("fisher_divergence", Mixture([[0.3]], 0.5), data) == pytest.approx(0.3**2 / 0.5**4, rel=1e-6)
    assert exact("nll", Mixture([[0.0]], 0.5), data) == pytest.approx(
        0.5 + math.log(0.5 * math.sqrt(2 * math.pi)), abs=0.1
    )


def test_kl_states_an_error_that_holds() -> None:
    truth, model = Mixture([[0.01, 0.0]], 0.03), Mixture([[0.02, 0.0]], 0.03)
    estimate = measure("kl", model.energy, torch.empty(0), data_of(truth))
    assert abs(value_of(estimate) - 0.01**2 / (2 * 0.03**2)) <= estimate.detail["numerical_error"] + 1e-9


def test_kl_does_not_certify_a_density_that_is_not_normalised() -> None:
    data = data_of(QUARTET_LAW)
    wrong = dataclasses.replace(data, log_density=lambda x: QUARTET_LAW.log_density(x) + 0.1)
    estimate = measure("kl", QUARTET_LAW.energy, data.train, wrong)
    assert not estimate.certified
    assert "mass of 1.1052" in estimate.reason


def test_a_negative_kl_is_an_error_and_not_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.core.quadrature.GridDistribution.expectation", lambda self, values: -1e-6)
    with pytest.raises(ArithmeticError, match="cannot be negative; got -1e-06"):
        measure("kl", QUARTET_LAW.energy, torch.empty(0), data_of(QUARTET_LAW))


def test_nll_s_standard_error_is_calibrated() -> None:
    values, stderrs = repeated("nll", QUARTET_LAW, QUARTET_LAW, 300, 60)
    fine = data_of(QUARTET_LAW, n=400_000)
    scores = (values + QUARTET_LAW.log_density(fine.test).mean()) / stderrs
    assert abs(float(scores.mean())) < 4 / math.sqrt(60)
    assert 0.65 < float(scores.std()) < 1.35


def test_fisher_divergence_is_the_closed_form_of_gaussians_without_a_half() -> None:
    data = data_of(Mixture([[0.1, -0.2]], 0.4))
    assert exact("fisher_divergence", Mixture([[0.1, -0.2]], 0.4), data) < 1e-18
    shifted = exact("fisher_divergence", Mixture([[0.3, 0.1]], 0.4), data)
    assert shifted == pytest.approx((0.2**2 + 0.3**2) / 0.4**4, rel=1e-6)
    widened = exact("fisher_divergence", Mixture([[0.1, -0.2]], 0.5), data)
    assert widened == pytest.approx(2 * 0.4**2 * (1 / 0.4**2 - 1 / 0.5**2) ** 2, rel=1e-6)


def test_fisher_divergence_needs_no_integrable_model() -> None:
    data = data_of(NORMAL, half=8.0)
    estimate = measure("fisher_divergence", lambda x: -x.square().sum(-1) / 2, torch.empty(0), data)
    assert value_of(estimate) == pytest.approx(2 * 4.0, rel=1e-6)
    assert estimate.certified


def test_fisher_and_stein_are_nearly_blind_to_weights_where_mode_weight_error_and_kl_are_not() -> None:
    data = data_of(QUARTET_LAW)
    model = Mixture(QUARTET, 0.3, [0.4, 0.3, 0.2, 0.1])
    assert exact("fisher_divergence", model, data) < 1e-3
    stein = measure("kernel_stein_discrepancy", model.energy, data.train, data)
    assert stein.stderr is not None
    assert abs(value_of(stein)) < 4 * stein.stderr
    assert exact("mode_weight_error", model, data) > 0.19
    assert exact("kl", model, data) > 0.1


def test_mode_weight_error_is_the_total_variation_of_the_weights() -> None:
    data = data_of(QUARTET_LAW)
    model = Mixture(QUARTET, 0.3, [0.4, 0.3, 0.2, 0.1])
    estimate = measure("mode_weight_error", model.energy, data.train, data)
    assert value_of(estimate) == pytest.approx(0.2, abs=1e-5)
    assert estimate.detail["model_weights"] == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=1e-5)
    missing = Mixture(QUARTET[:1], 0.3)
    assert exact("mode_weight_error", missing, data) == pytest.approx(0.75, abs=1e-5)


def test_mode_weight_error_is_zero_at_the_truth_even_where_modes_overlap() -> None:
    law = Mixture([[0.5, 0.0], [-0.5, 0.0]], 0.6, [0.8, 0.2])
    assert exact("mode_weight_error", law, data_of(law)) < 1e-9
