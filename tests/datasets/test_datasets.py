"""What every data set promises: draws that follow the stated density, the same alone and in a stack, and pinned."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.api import Data, Rng, noisy_curves, noisy_points
from bench.core.quadrature import evaluate, grid_points
from bench.data import mixtures
from bench.plugins import builders, registry
from tests.helpers.dataset_params import ALONG, DATASETS

PINS = Path(__file__).with_name("data_pins.json")
SIDE = 384  # nodes a side
CELL = 8  # nodes a side of a cell whose draws are counted
MILLION = 1_000_000


@cache
def built(ref: str, seed: int = 0) -> Data:
    return builders.dataset(ref, Rng(seed, "data"))


@cache
def on_grid(ref: str) -> tuple[Tensor, Tensor, float]:
    """The nodes of the data set's box, log p at each, and the area of a cell."""
    data = built(ref)
    assert data.grid is not None
    assert data.log_density is not None
    points, area = grid_points(data.grid, SIDE)
    return points, evaluate(data.log_density, data.grid, SIDE), area


@pytest.fixture(params=DATASETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def exact_name(name: str) -> str:
    if not {"log_density", "score", "sample", "entropy", "grid"} <= built(name).provides:
        pytest.skip("declares no density")
    return name


def disagreement(x: Tensor, ref: str, points: int = 100_000) -> tuple[float, float]:
    """How far draws are from a data set's density, in standard errors: counts in cells (χ²), and the mean of log p."""
    data = built(ref)
    assert data.grid is not None
    assert data.log_density is not None
    assert data.entropy is not None
    _, log_p, area = on_grid(ref)
    cells = SIDE // CELL
    expected = (log_p.exp() * area).reshape(cells, CELL, cells, CELL).sum((1, 3)).flatten() * len(x)
    low, high = torch.tensor(data.grid.low), torch.tensor(data.grid.high)
    i, j = ((x - low) / (high - low) * cells).long().clamp(0, cells - 1).unbind(-1)
    counts = torch.bincount(i * cells + j, minlength=cells**2).double()
    full = expected >= 20
    observed = torch.cat([counts[full], counts[~full].sum()[None]])
    expected = torch.cat([expected[full], expected[~full].sum()[None] + 1])
    chi_square, freedom = float(((observed - expected).square() / expected).sum()), int(full.sum())
    values = data.log_density(x[:points].double())
    mean_error = float(values.mean()) + data.entropy
    return (chi_square - freedom) / math.sqrt(2 * freedom), mean_error / float(values.std()) * math.sqrt(len(values))


def test_a_million_draws_agree_with_the_density(exact_name: str) -> None:
    sample = built(exact_name).sample
    assert sample is not None
    by_cell, by_mean = disagreement(sample(MILLION, Rng(1, "data")), exact_name)
    assert abs(by_cell) < 4
    assert abs(by_mean) < 4


@pytest.mark.parametrize("ref", ["eight_gaussians[sigma=.155]", "two_moons[sigma=.103]"])
def test_the_agreement_test_rejects_a_density_with_noise_three_percent_off(ref: str) -> None:
    sample = built(ref.partition("[")[0]).sample
    assert sample is not None
    by_cell, by_mean = disagreement(sample(MILLION, Rng(1, "data")), ref)
    assert abs(by_cell) > 8
    assert abs(by_mean) > 5


def test_the_agreement_test_rejects_draws_that_miss_a_twentieth_of_one_mode() -> None:
    data = built("eight_gaussians")
    assert data.sample is not None
    assert data.mode_of is not None
    x = data.sample(MILLION, Rng(1, "data"))
    missed = (data.mode_of(x) == 0) & (torch.arange(MILLION) % 20 == 0)
    by_cell, _ = disagreement(x[~missed], "eight_gaussians")
    assert by_cell > 8


def test_the_density_integrates_to_one_over_its_box(exact_name: str) -> None:
    _, log_p, area = on_grid(exact_name)
    assert float(log_p.exp().sum()) * area == pytest.approx(1, abs=1e-6)


def test_the_entropy_is_the_integral_on_a_finer_grid(exact_name: str) -> None:
    _, log_p, area = on_grid(exact_name)
    assert built(exact_name).entropy == pytest.approx(-float((log_p.exp() * log_p).sum()) * area, abs=1e-5)


@pytest.mark.parametrize(("ref", "published"), [("eight_gaussians", 1.1231), ("two_moons", 1.0076)])
def test_the_entropy_is_the_published_one(ref: str, published: float) -> None:
    assert built(ref).entropy == pytest.approx(published, abs=5e-5)


def test_the_score_is_the_gradient_of_the_log_density(exact_name: str) -> None:
    data = built(exact_name)
    assert data.log_density is not None
    assert data.score is not None
    points, log_p, _ = on_grid(exact_name)
    likely = points[log_p > -100]
    x = torch.cat([data.test[:300].double(), likely[:: len(likely) // 300]])
    step = 1e-5
    central = [
        (data.log_density(x + step * e) - data.log_density(x - step * e)) / (2 * step)
        for e in torch.eye(2, dtype=torch.float64)
    ]
    torch.testing.assert_close(data.score(x), torch.stack(central, -1), rtol=1e-5, atol=1e-5)


def test_density_and_score_are_finite_and_the_same_in_both_types_even_far_out(exact_name: str) -> None:
    data = built(exact_name)
    assert data.grid is not None
    assert data.log_density is not None
    assert data.score is not None
    corners = torch.cartesian_prod(*(torch.tensor(side) for side in zip(data.grid.low, data.grid.high, strict=True)))
    x = torch.cat([torch.zeros(1, 2), corners, 5 * corners, data.test[:100]])
    for function in (data.log_density, data.score):
        single, double = function(x), function(x.double())
        assert single.dtype == torch.float32
        assert double.dtype == torch.float64
        assert double.isfinite().all()
        torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=1e-6)


def test_any_batch_shape_gives_the_values_of_the_flat_one(exact_name: str) -> None:
    data = built(exact_name)
    flat = data.test[:600]
    for function in (data.log_density, data.score, data.mode_of):
        if function is not None:
            assert torch.equal(function(flat.reshape(2, 300, 2)).flatten(0, 1), function(flat))
    assert data.log_density is not None
    assert data.log_density(flat[:0]).shape == (0,)


def test_the_score_of_the_log_density_can_be_differentiated_again(exact_name: str) -> None:
    data = built(exact_name)
    assert data.log_density is not None
    x = data.test[:50].double().requires_grad_()
    (gradient,) = torch.autograd.grad(data.log_density(x).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(gradient.sum(), x)
    assert curvature.isfinite().all()
    assert curvature.abs().sum() > 0


def test_modes_carry_the_weights_that_they_declare(exact_name: str) -> None:
    data = built(exact_name)
    if data.mode_of is None:
        pytest.skip("declares no modes")
    assert data.modes is not None
    assert data.mode_weights is not None
    count = len(data.modes)
    assert float(data.mode_weights.sum()) == pytest.approx(1)
    assert data.mode_of(data.modes).tolist() == list(range(count))
    points, log_p, area = on_grid(exact_name)
    near = log_p > -30
    mass = torch.zeros(count, dtype=torch.float64)
    mass.index_add_(0, data.mode_of(points[near]), log_p[near].exp() * area)
    torch.testing.assert_close(mass, data.mode_weights.double(), rtol=0, atol=2e-4)


def test_examples_are_not_sorted_by_mode(exact_name: str) -> None:
    data = built(exact_name)
    if data.mode_of is None or data.mode_weights is None:
        pytest.skip("declares no modes")
    mode = data.mode_of(data.train)
    alike, chance = float((mode[1:] == mode[:-1]).float().mean()), float(data.mode_weights.square().sum())
    assert abs(alike - chance) < 4 * math.sqrt(chance * (1 - chance) / len(mode))


def test_a_seed_draws_the_same_alone_and_in_a_stack(name: str) -> None:
    stack, alone = builders.dataset(name, Rng([0, 3], "data")), built(name, 3)
    for part in ("train", "valid", "test"):
        ours, other = getattr(stack, part), getattr(alone, part)
        assert ours.shape == (2, *other.shape)
        assert torch.equal(ours[1], other)
        assert not torch.equal(ours[0], other)
    if alone.sample is not None:
        assert torch.equal(alone.sample(77, Rng([0, 3], "eval"))[1], alone.sample(77, Rng(3, "eval")))


def test_sizes_are_as_asked_and_do_not_disturb_the_test_set(name: str) -> None:
    data = builders.dataset(name, Rng(0, "data"), n_train=17, n_valid=5)
    assert (len(data.train), len(data.valid)) == (17, 5)
    assert torch.equal(data.test, built(name).test)
    assert data.train.dtype == torch.float32
    assert data.name == name


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_a_noisy_segment_has_its_closed_form(sigma: float) -> None:
    length = 3.0
    segment = noisy_curves(lambda u, part: torch.stack([length * u, 0 * u], -1) + 0 * part[..., None], 1, sigma)
    x = torch.cartesian_prod(*(torch.linspace(-1, 4, 41, dtype=torch.float64),) * 2)
    along = (torch.special.ndtr(x[:, 0] / sigma) - torch.special.ndtr((x[:, 0] - length) / sigma)) / length
    across = (-x[:, 1].square() / (2 * sigma**2)).exp() / (sigma * math.sqrt(2 * math.pi))
    torch.testing.assert_close(segment.log_parts(x)[:, 0].exp(), along * across, rtol=1e-4, atol=1e-10)


def test_four_times_the_nodes_change_no_density(exact_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points, log_p, _ = on_grid(exact_name)
    monkeypatch.setattr(mixtures, "SPACING", mixtures.SPACING / 4)
    fine = builders.dataset(exact_name, Rng(0, "data"))
    assert fine.log_density is not None
    some = slice(None, None, len(points) // 1000)
    torch.testing.assert_close(log_p[some], fine.log_density(points[some]), rtol=0, atol=1e-4)


def test_noisy_points_are_gaussians() -> None:
    centres = torch.tensor([[0.0, 0.0], [1.0, -2.0]], dtype=torch.float64)
    x = torch.tensor([[0.3, 0.4]], dtype=torch.float64)
    expected = torch.distributions.MultivariateNormal(centres, 0.04 * torch.eye(2, dtype=torch.float64)).log_prob(x)
    torch.testing.assert_close(noisy_points(centres, 0.2).log_parts(x)[0], expected)


def test_the_digits_are_split_once_and_for_all() -> None:
    one, other = built("digits"), built("digits", 1)
    noise = 2 / 17
    for part in ("train", "valid", "test"):
        x, y = getattr(one, part), getattr(other, part)
        assert x.shape[1:] == (1, 8, 8)
        assert float(x.abs().max()) <= 1
        assert 0.9 * noise < float((x - y).abs().max()) < noise + 1e-6
    pixels = torch.cat([one.train, one.valid, one.test]).add(1).div(noise).floor()
    assert len(pixels) == 1797
    assert len(pixels.unique(dim=0)) == 1797  # no image lies in two parts


def test_dequantisation_is_uniform_within_a_level() -> None:
    level = built("digits").train.double().add(1).mul(17 / 2)
    u = level - level.floor()
    assert float(u.mean()) == pytest.approx(1 / 2, abs=4 / math.sqrt(12 * u.numel()))
    assert float(u.var()) == pytest.approx(1 / 12, abs=4 / math.sqrt(180 * u.numel()))


def pin(name: str) -> dict[str, int | str]:
    """A data set's version, and the hash of its first 64 training examples at seed 0 in units of 1e-4."""
    first = (built(name).train[:64].double() * 1e4).round().to(torch.int64)
    version = registry.find("datasets", name).info.version
    return {"version": version, "sha256": hashlib.sha256(first.numpy().tobytes()).hexdigest()}


def test_the_numbers_change_only_together_with_the_version(name: str) -> None:
    pinned, now = json.loads(PINS.read_text(encoding="utf-8")).get(name), pin(name)
    how = "then run 'PYTHONPATH=. python tests/test_datasets.py' and commit tests/data_pins.json"
    assert pinned is not None, f"{name} is not pinned: {how}"
    if pinned["sha256"] != now["sha256"]:
        assert pinned["version"] != now["version"], f"the numbers of {name} have changed: raise its version, {how}"
    assert pinned == now, f"{name} has another version than its pin: {how}"


def test_no_pin_outlives_its_data_set() -> None:
    assert sorted(json.loads(PINS.read_text(encoding="utf-8"))) == ALONG


if __name__ == "__main__":
    PINS.write_text(json.dumps({name: pin(name) for name in ALONG}, indent=2) + "\n", encoding="utf-8")
