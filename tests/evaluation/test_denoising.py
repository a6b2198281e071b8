"""What denoising promises: with the true energy each way gives the answer that mathematics gives, and no better."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.common.errors import UsageError
from bench.common.run_spec import BudgetSpec, RunSpec
from bench.core.data_types import Data
from bench.core.rng import Rng
from bench.evaluation import denoising
from bench.evaluation.trained_energy import TrainedEnergy
from bench.plugins import builders, registry
from bench.runner import classical_run, single_run
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite
from bench.training import denoiser

SCALE = 0.4  # of Gaussian images
LEVEL = 25


def gaussian_images(n: int = 12, side: int = 16) -> Data:
    train, valid, test = SCALE * Rng(0, "data").normal((3, n, 1, side, side))
    return Data("Gaussian images", train, valid, test, value_range=(-4.0, 4.0))


def gaussian(variance: float) -> denoising.Energy:
    return lambda x: x.flatten(1).square().sum(-1) / (2 * variance)


def smoothing(x: Tensor, sigma: Tensor) -> Tensor:
    """The energy of the images under noise of every level."""
    return x.flatten(1).square().sum(-1) / (2 * (SCALE**2 + sigma.square()))


@pytest.fixture(scope="module")
def data() -> Data:
    return gaussian_images()


def noised(data: Data) -> tuple[Tensor, float, Tensor]:
    """y, σ and what a Gaussian prior makes of y: y s² / (s² + σ²), at once mean and mode."""
    sigma = denoising.in_units(data, LEVEL)
    y = denoising.noisy(data.test, sigma, Rng(3, "eval"))
    return y, sigma, y * SCALE**2 / (SCALE**2 + sigma**2)


def test_tweedie_s_formula_gives_the_posterior_mean_of_a_gaussian(data: Data) -> None:
    y, sigma, exact = noised(data)
    assert torch.allclose(denoising.tweedie(gaussian(SCALE**2 + sigma**2), y, sigma), exact, atol=1e-5)
    # the energy of the clean images is not what the formula asks for
    assert not torch.allclose(denoising.tweedie(gaussian(SCALE**2), y, sigma), exact, atol=0.1)


def test_the_descent_finds_the_mode(data: Data) -> None:
    y, sigma, exact = noised(data)
    mode = denoising.posterior_mode(gaussian(SCALE**2), y, y, sigma, Rng(0), steps=60)
    assert float((mode - exact).abs().max()) < 0.01 * sigma


def test_the_chains_mean_is_the_posterior_s_within_its_error(data: Data) -> None:
    y, sigma, exact = noised(data)
    mean = denoising.posterior_mean(gaussian(SCALE**2), y, y, sigma, Rng(0), steps=600)
    width = SCALE * sigma / math.hypot(SCALE, sigma)
    error = float((mean - exact).square().mean().sqrt())
    # a mean of some tens of independent draws: nearer than one draw by far, and not by chance exact
    assert 0.01 * width < error < 0.5 * width
    # a shift of the prior must show: its mean moves by a third of a width here
    wrong = denoising.posterior_mean(lambda x: gaussian(SCALE**2)(x - 0.5 * width), y, y, sigma, Rng(0), steps=600)
    bias, stderr = float((wrong - mean).mean()), error / math.sqrt(mean.numel())
    assert bias > 4 * stderr


def test_chains_that_have_not_met_are_not_ranked_and_long_ones_are() -> None:
    data = gaussian_images(4, 8)
    short, long = (
        denoising.quality(
            TrainedEnergy(gaussian(SCALE**2)), data, Rng(3, "eval"), steps=steps, per_image=denoising.psnr
        )["mean_25"]
        for steps in (4, 3000)
    )
    assert not short.certified
    assert "of the noise apart" in short.reason
    assert long.certified
    exact = noised(data)[2]
    assert long.value == pytest.approx(denoising.judged(exact, data, denoising.psnr).value, abs=0.2)


def test_a_prior_of_smoothed_images_is_taken_for_what_it_is(data: Data) -> None:
    delta = 0.3
    smooth = TrainedEnergy(gaussian(SCALE**2 + delta**2), noise=delta)
    found = denoising.denoised(smooth, data, Rng(3, "eval"), level=LEVEL, steps=60)["mode_25"].images
    _, _, exact = noised(data)
    assert found is not None
    assert float((found - exact).abs().max()) < 0.02
    too_smooth = denoising.denoised(TrainedEnergy(gaussian(1.0), noise=0.9), data, Rng(3, "eval"), level=LEVEL, steps=4)
    assert too_smooth["mode_25"].reason == denoising.SMOOTHER


def test_every_objective_sees_the_same_noise_and_another_seed_another() -> None:
    images = torch.zeros(2, 1, 8, 8)
    used = Rng(0, "eval")
    used.normal((100,))
    first, again, other = (denoising.noisy(images, 0.1, rng) for rng in (Rng(0, "eval"), used, Rng(1, "eval")))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, denoising.noisy(images, 0.1, Rng(0, "eval"), purpose="tuning"))
    assert float(first.std()) == pytest.approx(0.1, rel=0.2)


def test_psnr_and_ssim_judge_the_clean_image_best_and_say_what_they_judged(data: Data) -> None:
    perfect, noisy = data.test, denoising.noisy(data.test, 0.5, Rng(0))
    assert denoising.judged(noisy, data, denoising.ssim).value < 0.95
    assert denoising.judged(perfect, data, denoising.ssim).value == pytest.approx(1.0)
    found = denoising.judged(noisy, data, denoising.psnr)
    assert found.value == pytest.approx(10 * math.log10(8**2 / 0.5**2), abs=4 * found.stderr)
    assert found.n == len(data.test)
    assert len(found.detail["images"]) == len(data.test)
    assert found.detail["data_range"] == 8
    assert denoising.judged(torch.full_like(perfect, math.nan), data, denoising.psnr).value is None


def test_one_energy_is_judged_on_each_data_set_and_seed_by_itself(data: Data) -> None:
    kept = TrainedEnergy(gaussian(SCALE**2))
    on_validation = data.judged_on("valid")
    for judged_data, seed in ((data, 3), (on_validation, 3), (data, 4), (data, 3)):
        told = {"steps": 4, "per_image": denoising.psnr}
        found = denoising.quality(kept, judged_data, Rng(seed, "eval"), **told)
        fresh = denoising.quality(TrainedEnergy(gaussian(SCALE**2)), judged_data, Rng(seed, "eval"), **told)
        assert {k: e.value for k, e in found.items()} == {k: e.value for k, e in fresh.items()}


def test_energies_and_denoisers_of_a_suite_are_judged_on_the_same_split(tmp_path: Path) -> None:
    suite = replace(
        read_suite("digits")[0],
        objectives=(),
        denoisers=("noisy_image",),
        metrics=("denoising_psnr",),
        primary="",
        datasets=("digits[sigma=0.05,n_valid=20,n_test=30]",),
        evaluation=replace(read_suite("digits")[0].evaluation, split="valid"),
    )
    (spec, *_) = plan_runs([suite], Selection(), "cpu")
    row = classical_run.run(spec, tmp_path, lambda line: None)
    assert row["metrics"]["denoising_psnr.classical_25"]["ema"]["n"] == 20
    assert len(builders.dataset(spec.dataset.ref, Rng(0, "data"), **spec.dataset.params).whole_test) == 30


def test_a_seed_of_a_stack_has_its_own_clean_images() -> None:
    stack = builders.dataset("digits[sigma=0.05]", Rng([0, 1], "data"))
    for k in range(2):
        alone, own = builders.dataset("digits[sigma=0.05]", Rng(k, "data")), stack.of_seed(k)
        for name in ("train", "valid", "test", "whole_valid", "whole_test"):
            assert torch.equal(getattr(own, name), getattr(alone, name)), name
        assert torch.equal(denoising.held_out(own), denoising.held_out(alone))


def test_a_model_without_the_noise_level_says_so_and_one_with_it_denoises(data: Data) -> None:
    plain = TrainedEnergy(gaussian(SCALE**2))
    told = TrainedEnergy(smoothing, levels=(0.3, 5.0), conditional=True)
    quality = {
        name: denoising.quality(energy, data, Rng(3, "eval"), steps=30, per_image=denoising.psnr)
        for name, energy in (("plain", plain), ("told", told))
    }
    assert quality["plain"]["tweedie_25"].reason == denoising.NO_LEVEL
    assert quality["plain"]["tweedie_25"].value is None
    # the mode of the posterior under the right prior is the same number by another road
    assert quality["told"]["tweedie_25"].value == pytest.approx(quality["plain"]["mode_25"].value, abs=0.02)
    assert quality["told"]["tweedie_15"].value > quality["told"]["tweedie_50"].value


def test_an_energy_of_data_that_shrink_is_evaluated_on_the_scale_of_the_data() -> None:
    """E(y, σ) of y = αx + σε, α² = 1 - σ², x ~ N(0, s²I): at σ/α it is that of N(0, (s² + (σ/α)²)I)."""

    def shrunk(y: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        variance = (1 - sigma**2) * SCALE**2 + sigma**2
        return y.flatten(1).square().sum(1) / (2 * variance)

    levels = [sigma / math.sqrt(1 - sigma**2) for sigma in (0.3, 0.8)]
    energy = TrainedEnergy(shrunk, levels=(levels[0], levels[1]), conditional=True, shrinks=True)
    x = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for level in (*levels, 0.9):
        at = energy.at(level)
        assert at is not None
        torch.testing.assert_close(at(x), x.square().sum(1) / (2 * (SCALE**2 + level**2)))
    torch.testing.assert_close(energy(x), x.square().sum(1) / (2 * (SCALE**2 + levels[0] ** 2)))
    assert energy.at(2.0) is None


def test_a_smoothing_energy_denoises_at_its_own_level_alone() -> None:
    energy = TrainedEnergy(gaussian(1.0), levels=(0.3, 0.3))
    assert energy.at(0.3) is not None
    assert energy.at(0.31) is None
    # noise of .4 in the data is part of what the energy has learnt
    of_noisy_data = TrainedEnergy(gaussian(1.0), levels=(0.3, 0.3), noise=0.4)
    assert of_noisy_data.at(0.5) is not None
    assert of_noisy_data.at(0.3) is None
    assert TrainedEnergy(gaussian(1.0)).at(0.3) is None


def test_denoising_refuses_what_is_no_image() -> None:
    moons = builders.dataset("two_moons", Rng(0, "data"))
    with pytest.raises(UsageError, match="value_range"):
        denoising.held_out(moons)


FUNCTIONS = [name for name in registry.names("denoisers") if not registry.find("denoisers", name).has_memory]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_classical_denoiser_does_not_make_a_smooth_image_worse(name: str) -> None:
    if reason := registry.find("denoisers", name).info.missing:
        pytest.skip(reason)
    ramp = torch.linspace(-1, 1, 48).expand(1, 1, 48, 48)
    y = denoising.noisy(ramp, 0.2, Rng(0))
    before, after = (denoising.psnr(ramp, images, 2.0)[0] for images in (y, classical_run.find_denoiser(name)(y, 0.2)))
    assert after >= before if classical_run.find_denoiser(name).space is None else after > before + 3


def test_a_classical_denoiser_is_a_row_like_any_other_tuned_on_validation_images(tmp_path: Path) -> None:
    suite = replace(
        read_suite("digits")[0], objectives=(), denoisers=("gaussian_filter",), metrics=("denoising_psnr",), primary=""
    )
    (spec, *_) = plan_runs([suite], Selection(), "cpu")
    assert spec.control
    row = classical_run.run(spec, tmp_path, lambda line: None)
    estimate = row["metrics"]["denoising_psnr.classical_25"]["ema"]
    width = estimate["detail"]["parameters"]["width"]
    function, data = (
        classical_run.find_denoiser("gaussian_filter"),
        builders.dataset(spec.dataset.ref, Rng(0, "data"), **spec.dataset.params),
    )
    sigma = denoising.in_units(data, 25)
    y = denoising.noisy(denoising.held_out(data), sigma, Rng(0, "eval"))
    assert estimate["value"] == denoising.judged(function(y, sigma, width=width), data, denoising.psnr).value
    kept = np.load(tmp_path / "artefacts.npz")
    assert {"clean", "noisy_25", "denoised_classical_25"} <= set(kept)


def test_a_denoiser_whose_package_is_not_here_is_skipped_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    suite = replace(read_suite("digits")[0], objectives=(), denoisers=("block_matching",), metrics=("denoising_psnr",))
    (spec, *_) = plan_runs([replace(suite, primary="")], Selection(), "cpu")
    assert spec.skip.endswith("pip install bm3d")
    monkeypatch.undo()
    (found, *_) = plan_runs([replace(suite, denoisers=("noisy_image",), primary="")], Selection(), "cpu")
    assert found.skip == ""


def test_a_parameter_is_chosen_on_validation_images_alone() -> None:
    flat, busy = torch.zeros(3, 1, 24, 24), Rng(0).uniform((3, 1, 24, 24)) * 2 - 1
    function = classical_run.find_denoiser("gaussian_filter")
    for valid, expected in ((flat, 3.0), (busy, 0.3)):
        for test in (flat, busy):
            data = Data("images", flat, valid, test, value_range=(-1.0, 1.0))
            (width,) = classical_run.chosen(function, data, 25, Rng(0)).values()
            assert width == pytest.approx(expected)


def test_settings_of_an_energy_are_chosen_on_validation_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole images are held out beside the examples where these are patches or noised."""
    digits = read_suite("digits")[0]
    suite = replace(
        digits,
        objectives=("denoising_score_matching",),
        metrics=("denoising_psnr",),
        primary="",
        budget=BudgetSpec(steps=1, batch=8),
        evaluation=replace(digits.evaluation, split="valid", samplers=()),
    )
    seen: list[Data] = []
    monkeypatch.setattr(single_run, "evaluate", lambda energies, samples, data, *rest: seen.append(data) or {})
    spec = plan_runs([suite], Selection(), "cpu")[0]
    single_run.run_single(spec, tmp_path, lambda line: None)
    data = builders.dataset(spec.dataset.ref, Rng(0, "data"), **spec.dataset.params)
    assert data.whole_valid is not None
    assert torch.equal(denoising.held_out(seen[0]), data.whole_valid[: denoising.IMAGES])


def trained_spec(reference: str = "score_network", **budget: Any) -> RunSpec:
    about = {"objectives": (), "denoisers": (reference,), "datasets": ("digits[n_train=400,n_test=40]",)}
    digits = read_suite("digits")[0]
    suite = replace(
        digits,
        **about,
        metrics=("denoising_psnr",),
        primary="",
        network={"name": "multiscale_convolutional", "width": 8, "blocks": 1, "stages": 2},
        budget=BudgetSpec(**{"batch": 32, **budget}),
        optimiser=replace(digits.optimiser, ema=0.9, lr=3e-3),
    )
    return plan_runs([suite], Selection(), "cpu")[0]


def test_a_network_learns_to_denoise_for_so_many_times_the_budget_and_repeats_itself(tmp_path: Path) -> None:
    data, rows = builders.dataset("digits[n_train=400,n_test=40]", Rng(0, "data")), []
    for spec in (trained_spec(steps=2), trained_spec("score_network[times=125]", steps=2), trained_spec(steps=250)):
        rows.append(classical_run.run(spec, tmp_path, lambda line: None))
    early, late, again = (row["metrics"]["denoising_psnr.classical_50"]["ema"]["value"] for row in rows)
    noisy = denoising.noisy(denoising.held_out(data), denoising.in_units(data, 50), Rng(0, "eval"))
    assert late > denoising.judged(noisy, data, denoising.psnr).value + 1 > early
    assert late == again
    assert rows[1]["work"]["steps"] == 250
    assert rows[1]["work"]["flops_train"] == pytest.approx(125 * rows[0]["work"]["flops_train"])


def test_noise_of_the_training_data_is_taken_into_account() -> None:
    # of white data with variance s² the best estimate of the added noise τz in y is τ y / (s² + noise² + τ²)
    s, noise, sigma = 0.6, 0.3, 0.5
    best = denoiser.Learned(Linear(s**2 + noise**2), noise)
    y = Rng(0).normal((2, 1, 9, 11))
    assert torch.allclose(best(y, sigma), y * s**2 / (s**2 + sigma**2), atol=1e-6)


class Linear(torch.nn.Module):
    def __init__(self, variance: float) -> None:
        super().__init__()
        self.variance = variance

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.reshape(-1, 1, 1, 1)
        return level * y / (self.variance + level.square())


def test_the_price_of_a_network_is_the_work_it_does(tmp_path: Path) -> None:
    spec = trained_spec("score_network[times=2]", steps=3)
    flops, seconds, around = classical_run.price(spec)
    row = classical_run.run(spec, tmp_path, lambda line: None)
    assert flops == row["work"]["flops_train"]
    assert row["work"]["steps"] == 6
    assert seconds > 0
    assert around > 0
