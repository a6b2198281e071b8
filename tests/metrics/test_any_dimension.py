"""Metrics that need no grid: their oracle, a fake, and their stated errors."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from bench.api import Data, Rng
from bench.evaluation.outliers import outliers
from bench.evaluation.trained_energy import TrainedEnergy
from bench.plugins import builders
from tests.helpers.mixtures import NORMAL, QUARTET_LAW, Mixture, data_of, measure, repeated, value_of

EIGHT = Mixture([[1.0] * 8, [-1.0] * 8], 1.0)
WIDER = Mixture([[1.0] * 8, [-1.0] * 8], 1.2)


def eight(seed: int = 0) -> Data:
    return data_of(EIGHT, seed, dtype=torch.float32)


def test_likelihood_by_annealing_is_the_entropy_at_the_truth_and_sees_a_law_too_wide() -> None:
    truth = measure("nll_ais", EIGHT.energy, eight().train, eight())
    assert truth.certified, truth.reason
    assert truth.detail["mark"] == "certified_ais"
    exact = -float(EIGHT.log_density(eight().test.double()).mean())
    assert abs(value_of(truth) - exact) < 4 * truth.detail["log_z_stderr"]
    wider = measure("nll_ais", WIDER.energy, eight().train, eight())
    assert value_of(wider) - value_of(truth) > 4 * math.hypot(
        truth.detail["log_z_stderr"], wider.detail["log_z_stderr"]
    )


def test_on_the_plane_annealing_agrees_with_quadrature() -> None:
    data = data_of(QUARTET_LAW, dtype=torch.float32)
    model = Mixture([[1.4, 1.5], [-1.5, 1.5], [-1.5, -1.4], [1.5, -1.5]], 0.4, [0.2, 0.3, 0.3, 0.2])
    exact = measure("nll", model.energy, data.train, data)
    annealed = [measure("nll_ais", model.energy, data.train, data, seed) for seed in range(3)]
    certified = [value_of(found) for found in annealed if found.certified]
    # chance, and a processor's rounding, may have two bases disagree: then it is refused, not wrong
    assert len(certified) >= 2, [found.reason for found in annealed]
    assert max(abs(value - value_of(exact)) for value in certified) <= 0.02


def test_likelihood_is_in_the_units_in_which_the_data_were_given() -> None:
    plain = measure("nll_ais", EIGHT.energy, eight().train, eight())
    scaled = dataclasses.replace(eight(), offset=torch.zeros(8), unit=torch.full((8,), 2.0))
    found = measure("nll_ais", EIGHT.energy, eight().train, scaled)
    assert value_of(found) == pytest.approx(value_of(plain) + 8 * math.log(2))


def test_bits_per_dimension_of_uniform_pixels_are_their_levels() -> None:
    # a normal law as wide as half of the interval: its density is known, and so are the bits of it
    x = 0.25 * Rng(0, "data").normal((1500, 1, 2, 4))
    data = Data("pixels", x, x, x, levels=256, value_range=(-1.0, 1.0))
    found = measure("bits_per_dim", lambda t: 8 * t.flatten(1).square().sum(-1), x, data)
    nats = 8 * float(x.flatten(1).square().sum(-1).mean()) + 4 * math.log(2 * math.pi / 16)
    bits = nats / (8 * math.log(2)) + math.log2(128)
    assert found.certified, found.reason
    assert value_of(found) == pytest.approx(bits, abs=4 * found.detail["log_z_stderr"] / (8 * math.log(2)))


def test_an_estimate_of_log_z_is_held_against_annealing() -> None:
    right = TrainedEnergy(EIGHT.energy, log_z_estimate=0.0)
    wrong = TrainedEnergy(EIGHT.energy, log_z_estimate=0.5)
    found = measure("log_z_error_ais", right, eight().train, eight())
    assert found.certified
    assert found.stderr is not None
    assert value_of(found) < 4 * found.stderr
    assert found.detail["log_z_low"] < 0 < found.detail["log_z_high"]
    assert measure("log_z_error_ais", wrong, eight().train, eight()).detail["error"] == pytest.approx(
        0.5 + found.detail["error"], abs=1e-6
    )


@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_the_best_assignment_finds_a_shift_with_an_error_near_its_spread(shift: float) -> None:
    values, stderrs = repeated("wasserstein", NORMAL, Mixture([[shift, 0.0]], 1.0), 800, 20)
    # biased upwards, by a tenth at this size
    assert -0.05 < float(values.mean()) - shift < 0.15
    assert 0.5 < float(stderrs.mean() / values.std()) < 2


def test_the_best_assignment_of_equal_laws_is_at_its_floor() -> None:
    data = data_of(NORMAL, n=2000)
    found = measure("wasserstein", NORMAL.energy, NORMAL.sample(2000, Rng(3)), data)
    assert 0.7 < value_of(found) / found.detail["floor"] < 1.4


def test_a_classifier_tells_nothing_at_the_truth_and_all_of_a_law_far_away() -> None:
    values, stderrs = repeated("classifier_two_sample", NORMAL, NORMAL, 800, 30)
    assert abs(float(values.mean()) - 0.5) < 4 * float(values.std()) / math.sqrt(30)
    assert 0.6 < float(stderrs.mean() / values.std()) < 1.6
    far = measure("classifier_two_sample", NORMAL.energy, NORMAL.sample(800, Rng(1)) + 9, data_of(NORMAL))
    assert value_of(far) == 1


def test_the_held_out_fisher_divergence_estimates_the_exact_one() -> None:
    model = Mixture([[0.2, 0.0]], 1.2)
    data = data_of(NORMAL, half=8.0)
    exact = value_of(measure("fisher_divergence", model.energy, data.train, data))
    values, stderrs = repeated("fisher_divergence_held_out", NORMAL, model, 800, 30)
    assert abs(float(values.mean()) - exact) < 4 * float(values.std()) / math.sqrt(30)
    assert 0.7 < float(stderrs.mean() / values.std()) < 1.5


def test_mode_weights_of_samples_are_at_their_floor_for_the_truth_and_right_for_others() -> None:
    law = QUARTET_LAW
    found = [
        measure("mode_weight_error_of_samples", law.energy, law.sample(2000, Rng(k)), data_of(law)) for k in range(9)
    ]
    mean = sum(value_of(e) for e in found) / len(found)
    assert 0.6 < mean / found[0].detail["floor"] < 1.5
    other = Mixture(law.centres.tolist(), 0.3, [0.4, 0.3, 0.2, 0.1])
    off = measure("mode_weight_error_of_samples", law.energy, other.sample(2000, Rng(1)), data_of(law))
    assert off.stderr is not None
    assert abs(value_of(off) - 0.2) < 4 * off.stderr


def test_the_area_is_that_of_all_pairs_and_its_error_that_of_repeats() -> None:
    values, stderrs = [], []
    for k in range(30):
        found = measure(
            "out_of_distribution_auroc", NORMAL.energy, NORMAL.sample(2, Rng(0)), data_of(NORMAL, k, 300), k
        )
        values.append(value_of(found))
        stderrs.append(found.stderr or 0.0)
    spread = float(torch.tensor(values).std())
    assert 0.6 < sum(stderrs) / len(stderrs) / spread < 1.8
    assert found.detail["oracle"] == pytest.approx(found.value)
    upside_down = measure(
        "out_of_distribution_auroc", lambda x: -NORMAL.energy(x), data_of(NORMAL).train, data_of(NORMAL)
    )
    upright = measure("out_of_distribution_auroc", NORMAL.energy, data_of(NORMAL).train, data_of(NORMAL))
    assert value_of(upside_down) == pytest.approx(1 - value_of(upright))


def test_outliers_of_a_data_set_of_the_project_are_its_others_too() -> None:
    data = builders.dataset("two_moons", Rng(0, "data"), n_train=500)
    found = outliers(data, 100, Rng(0))
    assert {"uniform", "permuted", "gaussian", "pinwheel"} <= set(found)
    assert not {"two_moons", "digits"} & set(found)
    assert all(x.shape == (100, 2) for x in found.values())
    moons, permuted = data.test.sort(0).values, found["permuted"]
    assert moons[0, 0] <= permuted[:, 0].min()
    assert set(outliers(dataclasses.replace(data, name="mine.csv"), 9, Rng(0))) == {"uniform", "permuted", "gaussian"}
