"""Metrics of samples: closed forms, calibrated errors, and their floor at the truth."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from bench.api import Rng, score
from bench.plugins import builders, registry
from tests.helpers.mixtures import NORMAL, Mixture, cheap, data_of, distance_from, measure, repeated, value_of

METRICS = registry.names("metrics")


@pytest.mark.parametrize("shift", [0.6, 1.5])
def test_sliced_wasserstein_of_shifted_gaussians_is_its_closed_form_with_a_calibrated_error(shift: float) -> None:
    model = Mixture([[0.6 * shift, -0.8 * shift]], 1.0)
    values, stderrs = repeated("sliced_wasserstein", NORMAL, model, 800, 30)
    scores = (values - shift / math.sqrt(2)) / stderrs
    # the bias, upwards, is a small part of the error at such a distance
    assert -4 / math.sqrt(30) < float(scores.mean()) < 4 / math.sqrt(30) + 0.5
    assert 0.5 < float(scores.std()) < 1.5


def test_sliced_wasserstein_is_at_its_floor_for_the_truth_and_above_for_a_detuned_law() -> None:
    data = data_of(NORMAL, n=4000)
    found = [measure("sliced_wasserstein", NORMAL.energy, NORMAL.sample(4000, Rng(r)), data, r) for r in range(10)]
    ratios = torch.tensor([value_of(e) / e.detail["floor"] for e in found])
    assert 0.7 < float(ratios.mean()) < 1.4
    assert all(e.n == 2000 for e in found)
    detuned = Mixture([[0.0, 0.0]], 1.1)
    off = [measure("sliced_wasserstein", NORMAL.energy, detuned.sample(4000, Rng(r)), data, r) for r in range(10)]
    assert min(value_of(e) / e.detail["floor"] for e in off) > 1.2


@pytest.mark.parametrize("name", [n for n in METRICS if builders.metric(n).info.needs <= {"samples"}])
def test_an_image_counts_as_its_pixels(name: str) -> None:
    law = Mixture([[0.0] * 16, [1.0] * 16], 0.3)
    flat = data_of(law, n=300)
    images = dataclasses.replace(flat, test=flat.test.reshape(-1, 1, 4, 4), log_density=None)
    samples = law.sample(200, Rng(5))
    expected = measure(cheap(name), law.energy, samples, flat)
    found = measure(cheap(name), lambda x: law.energy(x.flatten(1)), samples.reshape(-1, 1, 4, 4), images)
    assert value_of(found) == pytest.approx(value_of(expected))
    assert found.stderr == pytest.approx(expected.stderr)


@pytest.mark.parametrize("name", ["maximum_mean_discrepancy", "kernel_stein_discrepancy"])
def test_kernel_discrepancies_are_unbiased_at_the_truth_and_reject_a_law_ten_per_cent_too_wide(name: str) -> None:
    values, stderrs = repeated(name, NORMAL, NORMAL, 300, 40)
    assert abs(distance_from(0.0, values)) < 4
    # at the truth the stated error may be too large, by less than √2; 40 repeats tell a standard deviation to 11 %
    assert 0.75 < float(stderrs.square().mean().sqrt() / values.std()) < 1.7
    detuned, _ = repeated(name, NORMAL, Mixture([[0.0, 0.0]], 1.1), 1000, 30)
    assert distance_from(0.0, detuned) > 4


@pytest.mark.parametrize("name", ["maximum_mean_discrepancy", "kernel_stein_discrepancy"])
def test_kernel_discrepancies_have_a_calibrated_error_away_from_the_truth(name: str) -> None:
    values, stderrs = repeated(name, NORMAL, Mixture([[1.0, 0.0]], 1.0), 300, 40)
    assert 0.65 < float(stderrs.square().mean().sqrt() / values.std()) < 1.5
    assert float((values / stderrs).min()) > 4


def test_maximum_mean_discrepancy_is_its_closed_form_for_gaussians() -> None:
    data, model = data_of(NORMAL), Mixture([[0.8, 0.0]], 1.0)
    found = measure("maximum_mean_discrepancy", model.energy, model.sample(1500, Rng(5)), data)
    expected = 0.0
    for width in found.detail["bandwidths"]:
        spread = width**2 + 2  # of x - y, with the kernel's own
        same = width**2 / spread
        expected += 2 * same * (1 - math.exp(-(0.8**2) / (2 * spread))) / len(found.detail["bandwidths"])
    assert found.n == 1024
    assert found.stderr is not None
    assert abs(value_of(found) - expected) < 4 * found.stderr


def test_maximum_mean_discrepancy_is_its_definition_at_the_stated_bandwidths() -> None:
    data, model = data_of(NORMAL, n=20), Mixture([[0.8, 0.0]], 1.0)
    samples = model.sample(20, Rng(5))
    found = measure("maximum_mean_discrepancy", model.energy, samples, data)
    # n is all there is: the metric's draws are the pairing of samples with test points
    rng = Rng(0, "eval")
    x, y = samples[rng.distinct(20, (20,))], data.test[rng.distinct(20, (20,))]

    def kernel(a: Tensor, b: Tensor) -> float:
        widths = torch.tensor(found.detail["bandwidths"], dtype=torch.float64)
        return float(torch.exp(-(a - b).square().sum() / (2 * widths.square())).mean())

    pairs = [(i, j) for i in range(20) for j in range(20) if i != j]
    expected = [kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(x[j], y[i]) for i, j in pairs]
    assert value_of(found) == pytest.approx(sum(expected) / len(pairs))
    assert found.detail["bandwidths"][0] == pytest.approx(2 * float(torch.pdist(data.test).median()))


def test_kernel_stein_discrepancy_is_its_definition_by_automatic_differentiation() -> None:
    data, model = data_of(NORMAL, n=12), Mixture([[0.4, 0.0], [-1.0, 0.5]], 0.7)
    found = measure("kernel_stein_discrepancy", model.energy, data.train, data)
    lengths = found.detail["length_scales"]

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([(1 + (x - y).square().sum() / length**2) ** -0.5 for length in lengths]).mean()

    total = 0.0
    for i, x in enumerate(data.test):
        for j, y in enumerate(data.test):
            if i != j:
                by_x, by_y = torch.func.grad(kernel, 0)(x, y), torch.func.grad(kernel, 1)(x, y)
                trace = torch.func.jacfwd(torch.func.grad(kernel, 0), 1)(x, y).trace()
                s, t = score(model.energy, x[None])[0], score(model.energy, y[None])[0]
                total += float((s @ t) * kernel(x, y) + s @ by_y + t @ by_x + trace)
    assert value_of(found) == pytest.approx(total / 132)


def test_a_constant_energy_has_a_larger_kernel_stein_discrepancy_than_a_nearly_right_one() -> None:
    law = Mixture([[2 * math.cos(a), 2 * math.sin(a)] for a in torch.arange(8) * math.pi / 4], 0.15)
    nearly = Mixture((law.centres * 1.01).tolist(), 0.15)
    data = data_of(law)
    flat = measure("kernel_stein_discrepancy", lambda x: (x * 0).sum(-1), data.train, data)
    assert value_of(flat) > value_of(measure("kernel_stein_discrepancy", nearly.energy, data.train, data))


def test_sample_metrics_say_when_samples_are_not_finite() -> None:
    data = data_of(NORMAL)
    samples = NORMAL.sample(1000, Rng(5))
    samples[:, 1] = math.inf
    for name in ("sliced_wasserstein", "maximum_mean_discrepancy"):
        estimate = measure(name, NORMAL.energy, samples, data)
        assert (estimate.value, estimate.reason) == (None, "some of the samples are not finite")
