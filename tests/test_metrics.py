from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from discovered import DATASETS
from torch import Tensor

import bench.load
from bench.api import Data, Energy, Estimate, Grid, Rng, score
from bench.quadrature import Frozen, freeze

METRICS = bench.load.names("metrics")
EXACT = [name for name in METRICS if "grid" in bench.load.metric(name).info.needs]
QUARTET = [[1.5, 1.5], [-1.5, 1.5], [-1.5, -1.5], [1.5, -1.5]]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # the tensors are small: on a busy machine a second thread waits for longer than it works
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Mixture:
    """Σ wₘ N(cₘ, σ²I), from scratch: no code of the project stands between a test and its truth."""

    def __init__(self, centres: Sequence[Sequence[float]], sd: float, weights: Sequence[float] | None = None) -> None:
        self.centres = torch.tensor(centres, dtype=torch.float64)
        self.sd = sd
        self.weights = torch.tensor(weights or [1 / len(centres)] * len(centres), dtype=torch.float64)

    def log_density(self, x: Tensor) -> Tensor:
        square = (x[..., None, :] - self.centres.to(x.dtype)).square().sum(-1)
        normaliser = x.shape[-1] / 2 * math.log(2 * math.pi * self.sd**2)
        return (self.weights.log().to(x.dtype) - square / (2 * self.sd**2)).logsumexp(-1) - normaliser

    def energy(self, x: Tensor, *sigma: Tensor) -> Tensor:
        return -self.log_density(x)

    def score(self, x: Tensor) -> Tensor:
        difference = self.centres.to(x.dtype) - x[..., None, :]
        share = (self.weights.log().to(x.dtype) - difference.square().sum(-1) / (2 * self.sd**2)).softmax(-1)
        return (share[..., None] * difference).sum(-2) / self.sd**2

    def mode_of(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.centres.to(x.dtype)).argmin(-1)

    def sample(self, n: int, rng: Rng) -> Tensor:
        centres = self.centres[rng.choice(self.weights, (n,))]
        return centres + self.sd * rng.normal(centres.shape, torch.float64)


def data_of(law: Mixture, seed: int = 0, n: int = 2000, dtype: torch.dtype = torch.float64, half: float = 4.0) -> Data:
    dimension = law.centres.shape[1]
    rng = Rng(seed, "data")
    train, valid, test = (law.sample(n, rng).to(dtype) for _ in range(3))
    return Data(
        "synthetic",
        train,
        valid,
        test,
        log_density=law.log_density,
        score=law.score,
        sample=law.sample,
        grid=Grid((-half,) * dimension, (half,) * dimension) if dimension <= 2 else None,
        modes=law.centres,
        mode_weights=law.weights,
        mode_of=law.mode_of,
    )


def measure(name: str, energy: Energy, samples: Tensor, data: Data, seed: int = 0) -> Estimate:
    return bench.load.metric(name)(energy, samples, data, Rng(seed, "eval"))


def value_of(estimate: Estimate) -> float:
    assert estimate.value is not None, estimate.reason
    return estimate.value


def exact(name: str, model: Mixture, data: Data) -> float:
    estimate = measure(name, model.energy, data.train, data)
    assert estimate.certified, estimate.reason
    return value_of(estimate)


def repeated(name: str, truth: Mixture, model: Mixture, n: int, repeats: int) -> tuple[Tensor, Tensor]:
    """The values and the standard errors over fresh test sets and fresh samples."""
    energy = Frozen(model.energy)
    found = [measure(name, energy, model.sample(n, Rng(r, "model")), data_of(truth, r, n), r) for r in range(repeats)]
    stderrs = [e.stderr for e in found if e.stderr is not None]
    return torch.tensor([value_of(e) for e in found]).double(), torch.tensor(stderrs).double()


def distance_from(truth: float, values: Tensor) -> float:
    """How many standard errors of their own mean the values are off."""
    return (float(values.mean()) - truth) / (float(values.std()) / math.sqrt(len(values)))


QUARTET_LAW = Mixture(QUARTET, 0.3)
NORMAL = Mixture([[0.0, 0.0]], 1.0)


# every discovered metric


@pytest.fixture(scope="module")
def data() -> Data:
    return data_of(QUARTET_LAW)


def applies(name: str, data: Data) -> bool:
    return bench.load.metric(name).info.needs <= data.provides | {"samples"}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_tells_the_truth_from_a_fake(name: str, data: Data) -> None:
    if not applies(name, data):
        pytest.skip("needs more than a density in two dimensions")
    fake = Mixture([[1.1 * x + 0.3, y] for x, y in QUARTET], 0.4, [0.4, 0.3, 0.2, 0.1])
    right = measure(name, QUARTET_LAW.energy, QUARTET_LAW.sample(2000, Rng(5)), data)
    wrong = measure(name, fake.energy, fake.sample(2000, Rng(5)), data)
    worse = 1 if bench.load.metric(name).info.better == "lower" else -1
    noise = math.hypot(right.stderr or 0.0, wrong.stderr or 0.0)
    assert worse * (value_of(wrong) - value_of(right)) > max(4 * noise, 1e-3)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_does_not_see_a_constant_in_the_energy(name: str, data: Data) -> None:
    if not applies(name, data):
        pytest.skip("needs more than a density in two dimensions")
    model = Mixture(QUARTET, 0.35)
    samples = model.sample(500, Rng(5))
    plain = measure(name, model.energy, samples, data)
    moved = measure(name, lambda x: model.energy(x) + 12.5, samples, data)
    assert value_of(moved) == pytest.approx(value_of(plain), rel=1e-9, abs=1e-9)
    assert moved.stderr == (None if plain.stderr is None else pytest.approx(plain.stderr, rel=1e-6))
    assert (moved.certified, moved.n) == (plain.certified, plain.n)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_depends_on_its_rng_alone(name: str, data: Data) -> None:
    if not applies(name, data):
        pytest.skip("needs more than a density in two dimensions")
    samples = QUARTET_LAW.sample(500, Rng(5))
    before = samples.clone(), data.test.clone()
    torch.manual_seed(0)
    first = measure(name, QUARTET_LAW.energy, samples, data)
    torch.manual_seed(1)
    assert measure(name, QUARTET_LAW.energy, samples, data) == first
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
def test_a_metric_takes_half_a_second_at_most_and_leaves_no_gradients(name: str) -> None:
    single = freeze(data_of(QUARTET_LAW, n=8192, dtype=torch.float32))
    if not applies(name, single):
        pytest.skip("needs more than a density in two dimensions")
    layers = torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 1)
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(0))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        estimate = measure(name, network, single.train, single)
        seconds.append(time.process_time() - start)
    assert math.isfinite(value_of(estimate))
    assert all(weight.grad is None for weight in network.parameters())
    assert min(seconds) < 0.5


@pytest.mark.parametrize("name", METRICS)
def test_freezing_changes_no_number(name: str, data: Data) -> None:
    if not applies(name, data):
        pytest.skip("needs more than a density in two dimensions")
    model = Mixture(QUARTET, 0.35)
    plain = measure(name, model.energy, data.train, data)
    assert measure(name, Frozen(model.energy), data.train, freeze(data)) == plain


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_truth_of_a_discovered_data_set_is_perfect(dataset: str) -> None:
    data = freeze(bench.load.dataset(dataset, Rng(0, "data")))
    log_density = data.log_density
    if data.grid is None or log_density is None:
        pytest.skip("its density is not known")
    truth = Frozen(lambda x: 2.5 - log_density(x))
    for name in EXACT:
        # the score takes seconds where the density is a mixture along a curve
        if not applies(name, data) or "score" in bench.load.metric(name).info.needs:
            continue
        estimate = measure(name, truth, data.train, data)
        assert estimate.certified, (name, estimate.reason)
        perfect = data.entropy if name == "nll" else 0.0
        assert perfect is not None
        assert value_of(estimate) == pytest.approx(perfect, abs=max(1e-5, 4 * (estimate.stderr or 0.0))), name


# exact ones


@pytest.mark.parametrize("name", ["nll", "kl", "mode_weight_error"])
@pytest.mark.parametrize("energy", [lambda x: x.sum(-1) * 0, lambda x: -3 * x[:, 0], lambda x: -x.square().sum(-1)])
def test_a_law_that_leaks_from_the_box_is_not_certified(name: str, energy: Callable[[Tensor], Tensor]) -> None:
    data = data_of(QUARTET_LAW)
    estimate = measure(name, energy, data.train, data)
    assert math.isfinite(value_of(estimate))
    assert not estimate.certified
    assert "not integrable in the box" in estimate.reason
    assert "% of its mass" in estimate.reason


@pytest.mark.parametrize("name", ["nll", "kl"])
def test_a_model_too_sharp_for_the_grid_is_not_certified(name: str) -> None:
    data = data_of(Mixture([[0.01, 0.0]], 0.1))
    estimate = measure(name, lambda x: (x / 0.006).square().sum(-1) / 2 - x[:, 0], torch.empty(0), data)
    assert not estimate.certified
    assert name == "kl" or "too sharp for the grid" in estimate.reason


@pytest.mark.parametrize("name", [name for name in EXACT if "log_density" in bench.load.metric(name).info.needs])
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
    monkeypatch.setattr("bench.quadrature.Table.expectation", lambda self, values: -1e-6)
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


# sample metrics


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


@pytest.mark.parametrize("name", [n for n in METRICS if bench.load.metric(n).info.needs <= {"samples"}])
def test_an_image_counts_as_its_pixels(name: str) -> None:
    law = Mixture([[0.0] * 16, [1.0] * 16], 0.3)
    flat = data_of(law, n=300)
    images = dataclasses.replace(flat, test=flat.test.reshape(-1, 1, 4, 4))
    samples = law.sample(200, Rng(5))
    expected = measure(name, law.energy, samples, flat)
    found = measure(name, lambda x: law.energy(x.flatten(1)), samples.reshape(-1, 1, 4, 4), images)
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
