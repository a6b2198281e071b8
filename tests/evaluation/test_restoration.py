"""Restoration under a Gaussian prior is what mathematics gives; blind denoising knows no more than the image shows."""

from __future__ import annotations

import pytest
import torch

from bench.core.data_types import Data
from bench.core.rng import Rng
from bench.evaluation import denoising, restoration
from bench.evaluation.trained_energy import TrainedEnergy
from tests.evaluation.test_denoising import SCALE, gaussian, gaussian_images, smoothing


@pytest.fixture(scope="module")
def data() -> Data:
    return gaussian_images(6, 16)


def test_the_mode_is_the_posterior_s_where_the_prior_is_white(data: Data) -> None:
    sigma, clean = denoising.in_units(data, restoration.LEVEL), data.test
    for name, task in restoration.tasks(clean, Rng(0)).items():
        y = task.observe(clean)
        found = restoration.restored(gaussian(SCALE**2), y, task, sigma, steps=100)
        assert found is not None
        if name == "inpainting":  # what is missing is the prior's mean, 0
            exact = y * SCALE**2 / (SCALE**2 + sigma**2)
            assert float((y == 0).float().mean()) == pytest.approx(0.5, abs=0.05)
        else:  # AAᵀ = I/4
            spread = torch.nn.functional.interpolate(y, scale_factor=2) / 4
            exact = SCALE**2 * spread / (SCALE**2 / 4 + sigma**2)
        assert torch.allclose(found, exact, atol=2e-3)


def test_a_prior_of_smoothed_images_is_taken_for_what_it_is(data: Data) -> None:
    delta, sigma = 0.3, denoising.in_units(data, restoration.LEVEL)
    smooth = TrainedEnergy(gaussian(SCALE**2 + delta**2), noise=delta)
    task = restoration.tasks(data.test, Rng(0))["inpainting"]
    y = task.observe(data.test)
    found = restoration.restored(smooth, y, task, sigma, steps=100)
    assert found is not None
    assert torch.allclose(found, y * SCALE**2 / (SCALE**2 + sigma**2), atol=2e-3)
    assert restoration.restored(TrainedEnergy(gaussian(1.0), noise=2 * sigma), y, task, sigma, steps=4) is None


def test_each_seed_misses_other_pixels_and_every_energy_the_same(data: Data) -> None:
    first, again, other = (
        restoration.tasks(data.test, Rng(seed, "eval"))["inpainting"].observe(data.test) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_guess_fills_in_what_is_missing_and_a_prior_s_quality_stands_beside_it() -> None:
    place = torch.linspace(-1, 1, 32)
    ramp = (0.5 * place[:, None] + 0.5 * place).expand(2, 1, 32, 32).contiguous()
    mask = (Rng(0).uniform((2, 1, 32, 32)) < 0.5).float()
    guess = restoration.filled_in(mask * ramp, mask)
    assert torch.equal(guess * mask, ramp * mask)
    assert float((guess - ramp).abs().max()) < 0.3
    data = Data("ramp", ramp, ramp, ramp, value_range=(-1.0, 1.0), whole_test=ramp)

    def flat(x: torch.Tensor) -> torch.Tensor:
        across, down = x.diff(dim=-1), x.diff(dim=-2)
        return 30 * (across.square().flatten(1).sum(-1) + down.square().flatten(1).sum(-1))

    found = restoration.restoration_quality(flat, data, Rng(0, "eval"), steps=60, per_image=denoising.psnr)
    assert found.keys() == {"inpainting", "super_resolution"}
    for estimate in found.values():
        assert estimate.value is not None
        assert estimate.value > sum(estimate.detail["start"]) / 2 + 1, "a prior of smooth images beats interpolation"


def test_the_noise_is_seen_in_the_image_and_denoised_without_being_told() -> None:
    smooth = torch.linspace(-1, 1, 64).expand(3, 1, 64, 64)
    y = denoising.noisy(smooth, 0.2, Rng(0))
    # a median of 1,024 absolute details has a standard error of 3.6 %
    assert denoising.estimated_sigmas(y) == pytest.approx([0.2] * 3, rel=4 * 0.036)
    told = TrainedEnergy(smoothing, levels=(0.05, 2.0), conditional=True)
    blind = denoising.blind_tweedie(told, y)
    assert blind is not None
    sigmas = torch.tensor(denoising.estimated_sigmas(y)).reshape(-1, 1, 1, 1)
    assert torch.allclose(blind, y * SCALE**2 / (SCALE**2 + sigmas**2), atol=1e-5)
    assert denoising.blind_tweedie(TrainedEnergy(smoothing, levels=(0.5, 2.0), conditional=True), y) is None
