"""The estimated local scale, against data whose narrowest direction is known."""

from __future__ import annotations

import math

import pytest
import torch

from bench.api import Rng, UsageError
from bench.data.local_scale import NEIGHBOURS, estimate_local_scale
from bench.plugins import builders
from tests.helpers.dataset_params import DATASETS


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", DATASETS)
def test_the_estimate_is_within_a_factor_of_two_of_the_declared_scale(name: str, seed: int) -> None:
    data = builders.dataset(name, Rng(seed, "data"))
    if data.local_scale is None:
        pytest.skip("declares no local scale")
    if len(data.train) < NEIGHBOURS * data.train[0].numel():
        pytest.skip("has fewer examples than the estimate asks for")
    ratio = estimate_local_scale(data.train) / data.local_scale
    assert 1 / 2 < ratio < 2


@pytest.mark.parametrize("d", [1, 2, 8, 32, 64])
def test_a_standard_normal_law_has_scale_one_within_a_factor_of_two(d: int) -> None:
    assert 1 / 2 < estimate_local_scale(Rng(0).normal((8192, d))) < 2


@pytest.mark.parametrize("width", [0.01, 0.1])
def test_it_finds_the_narrow_side_of_a_band_in_any_direction(width: float) -> None:
    rng = Rng(0)
    band = torch.stack([4 * rng.uniform((4096,)), width * rng.normal((4096,))], -1)
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    assert width / 2 < estimate_local_scale(band @ turn) < 2 * width


@pytest.mark.parametrize("n", [1024, 8192])
def test_it_does_not_shrink_with_the_spacing_of_the_points(n: int) -> None:
    # the distance of nearest neighbours falls like 1/√n
    assert estimate_local_scale(builders.dataset("two_moons", Rng(0, "data"), n_train=n).train) == pytest.approx(
        0.1, rel=0.4
    )


def test_it_scales_with_the_data() -> None:
    x = builders.dataset("two_moons", Rng(0, "data")).train
    assert estimate_local_scale(7 * x + 3) == pytest.approx(7 * estimate_local_scale(x), rel=1e-3)


def test_images_count_as_their_pixels_and_both_types_agree() -> None:
    x = Rng(0).normal((600, 1, 3, 3))
    assert estimate_local_scale(x) == estimate_local_scale(x.flatten(1)) == estimate_local_scale(x.double())


def test_it_draws_no_random_numbers_and_keeps_its_input() -> None:
    x = Rng(0).normal((500, 2))
    before, state = x.clone(), torch.get_rng_state()
    assert estimate_local_scale(x) == estimate_local_scale(x)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (torch.zeros(0, 2), "more than 2 examples"),
        (torch.randn(64, 8, 8), "more than 64 examples"),
        (torch.ones(100, 2), "vary in every direction"),
        (torch.linspace(0, 1, 500)[:, None] * torch.tensor([1.0, 0.3]), "vary in every direction"),
        (torch.tensor([[0.0, 0.0], [1.0, 2.0]]).repeat(300, 1), "vary in every direction"),
        (torch.full((100, 2), math.nan), "finite"),
    ],
)
def test_degenerate_data_are_refused_in_one_clear_line(x: torch.Tensor, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        estimate_local_scale(x)
    assert "\n" not in str(caught.value)
