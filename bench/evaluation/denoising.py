"""Removing noise of a known size with an energy as the prior, in three ways, and how well that went.

y = x + σz. Noise is stated in grey levels of 255, as the literature does; in units of x it is that share of the length
of `Data.value_range`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bench.common.errors import UsageError
from bench.core.data_types import Data, Estimate
from bench.core.derivatives import Energy, energy_and_score, score
from bench.core.rng import Rng
from bench.evaluation.trained_energy import TrainedEnergy
from bench.samplers.langevin import posterior_energy
from bench.samplers.metropolis import mala

LEVELS = (15, 25, 50)  # of 255: what papers on denoising report
IMAGES = 100  # at most
TARGET_ACCEPTANCE = 0.57  # optimal for MALA in high dimension (Roberts & Rosenthal 1998)
AGREEMENT = 0.1  # of the noise's standard deviation
NO_LEVEL = "n/a (the model has no such noise level)"
SMOOTHER = "n/a (the model is of a law that is smoother than that)"
PerImage = Callable[[Tensor, Tensor, float], list[float]]


def psnr(clean: Tensor, images: Tensor, data_range: float) -> list[float]:
    """10 log₁₀(range² / mean squared error) of each image (n, C, H, W), in decibels."""
    from skimage.metrics import peak_signal_noise_ratio  # takes a second to import

    pairs = zip(clean.numpy(), images.numpy(), strict=True)
    return [float(peak_signal_noise_ratio(a, b, data_range=data_range)) for a, b in pairs]


def ssim(clean: Tensor, images: Tensor, data_range: float) -> list[float]:
    """Mean structural similarity of each image (n, C, H, W) over windows of 7x7.   (Wang et al. 2004)"""
    from skimage.metrics import structural_similarity

    pairs = zip(clean.numpy(), images.numpy(), strict=True)
    return [float(structural_similarity(a, b, data_range=data_range, channel_axis=0)) for a, b in pairs]


def filtered(y: Tensor, function: Callable[..., np.ndarray]) -> Tensor:
    """function(image, channel_axis=...) applied to each of y, (n, C, H, W), as scikit-image wants it.

    One channel comes as (H, W) with channel_axis None, several as (H, W, C) with channel_axis -1: with a single channel
    in front, skimage.restoration.denoise_nl_means returns the image transposed.
    """
    images = y.permute(0, 2, 3, 1).cpu().numpy()
    if images.shape[-1] == 1:
        found = np.stack([function(image[..., 0], channel_axis=None) for image in images])[..., None]
    else:
        found = np.stack([function(image, channel_axis=-1) for image in images])
    return torch.from_numpy(found).permute(0, 3, 1, 2).to(y)


def held_out(data: Data, *, tuning: bool = False) -> Tensor:
    """The clean images (n, C, H, W) that denoising is judged on, or the ones that a ruler is tuned on.

    Raises:
        UsageError: if the data set is not one of images with a stated range.
    """
    whole, examples = (data.whole_valid, data.valid) if tuning else (data.whole_test, data.test)
    images = (whole if whole is not None else examples)[:IMAGES]
    if data.value_range is None or images.ndim != 4:
        raise UsageError(f"denoising needs images (n, C, H, W) with a value_range; {data.name} has none")
    return images


def in_units(data: Data, level: float) -> float:
    """σ in units of x of a noise that is stated in grey levels of 255."""
    assert data.value_range is not None
    low, high = data.value_range
    return level / 255 * (high - low)


def noisy(images: Tensor, sigma: float, rng: Rng, *, purpose: str = "noise") -> Tensor:
    """y = x + σz, not clipped; z depends on seed, σ and purpose alone, so everybody on every device sees the same."""
    z = Rng(rng.seeds[0], f"{purpose} {sigma:.6f}").normal(images.shape, images.dtype)
    return images + sigma * z.to(images.device)


def tweedie(energy: Energy, y: Tensor, sigma: float) -> Tensor:
    """E[x|y] = y + σ² s(y), s the score of the data's law convolved with N(0, σ²I).   (Robbins 1956; Efron 2011)"""
    return y + sigma**2 * score(energy, y)


def blind_tweedie(energy: TrainedEnergy, y: Tensor) -> Tensor | None:
    """`tweedie` by the σ that is seen in each image, or None if the model lacks the level of one."""
    found = []
    for image, sigma in zip(y.split(1), estimated_sigmas(y), strict=True):
        at = energy.at(sigma)
        if at is None:
            return None
        found.append(tweedie(at, image, sigma))
    return torch.cat(found)


def estimated_sigmas(y: Tensor) -> list[float]:
    """The noise's standard deviation in each of y, (n, C, H, W): the median of the finest wavelet details over .6745.

    By scikit-image. (Donoho & Johnstone 1994)
    """
    from skimage.restoration import estimate_sigma

    images = y.cpu().numpy()
    return [float(estimate_sigma(image, channel_axis=0, average_sigmas=True)) for image in images]


def posterior_mode(energy: Energy, y: Tensor, start: Tensor, sigma: float, rng: Rng, *, steps: int) -> Tensor:
    """argmin E(x) + ‖y - x‖² / 2σ², by L-BFGS from `start` with at most `steps` gradients."""
    return descent(posterior_energy(energy, y, rng, sigma=sigma), start, steps=steps)


def descent(posterior: Energy, start: Tensor, *, steps: int) -> Tensor:
    """argmin of an energy by L-BFGS from `start` with at most `steps` gradients."""
    x = start.clone()
    optimiser = torch.optim.LBFGS([x], max_iter=steps, max_eval=steps, history_size=10, line_search_fn="strong_wolfe")

    def evaluate() -> float:
        energies, slope = energy_and_score(posterior, x)
        x.grad = -slope
        return float(energies.sum())

    optimiser.step(evaluate)
    return x


def posterior_mean(energy: Energy, y: Tensor, start: Tensor, sigma: float, rng: Rng, *, steps: int) -> Tensor:
    """∫ x exp(-E(x) - ‖y - x‖² / 2σ²) dx, normalised: the mean of MALA chains, one an image, over their second half.

    In the first half each image's step is adapted from σ² d^(-1/2), by less and less (Robbins & Monro 1951). In d
    dimensions the chains need of the order of d^(1/3) or more transitions to forget where they began.
    """
    posterior = posterior_energy(energy, y, rng, sigma=sigma)
    step = torch.full(y.shape[:1], sigma**2 * y[0].numel() ** -0.5, device=y.device)
    x, total = start, torch.zeros_like(y)
    for k in range(steps):
        chain = mala(posterior, x, rng, steps=1, step_size=step)
        x = chain.x
        if k < steps // 2:
            step = step * (2 * (k + 1) ** -0.6 * (chain.acceptance - TARGET_ACCEPTANCE)).exp()
        else:
            total += x
    return total / (steps - steps // 2)


@dataclass(frozen=True)
class Removed:
    """Images without their noise, (n, C, H, W), or why there are none; `warning` says why they may not be ranked."""

    images: Tensor | None
    reason: str = ""
    warning: str = ""


def denoised(energy: Energy, data: Data, rng: Rng, *, level: int, steps: int) -> dict[str, Removed]:
    """{"tweedie_15": ..., "mean_15": ..., "mode_15": ...}: the held-out images after noise of `level`/255 was removed.

    By one Tweedie step where the model has the noise level, else a word; where it has a range of levels, "blind" by the
    same at the level that is seen in the image; by the mean and the mode of the posterior. An
    energy of a smoothed law, of u = x + δw, is the prior of u, and y is u with the rest of the noise, σ² - δ²; then x
    is E[x|u] = u + δ² s(u). The mean is ranked only if chains from the mode and from y come to the same images within
    `AGREEMENT` of the noise.

    Args:
        steps: gradients of the descent to the mode, and transitions of each chain for the mean.
    """
    sigma = in_units(data, level)
    y = noisy(held_out(data), sigma, rng)
    smoothed = energy.at(sigma) if isinstance(energy, TrainedEnergy) else None
    delta = energy.smoothing if isinstance(energy, TrainedEnergy) else 0.0
    one_step = None if smoothed is None else tweedie(smoothed, y, sigma)
    found = {f"tweedie_{level}": Removed(one_step, NO_LEVEL if one_step is None else "")}
    if isinstance(energy, TrainedEnergy) and energy.has_range:
        blind = blind_tweedie(energy, y)
        found[f"blind_{level}"] = Removed(blind, NO_LEVEL if blind is None else "")
    if sigma**2 <= 1.02 * delta**2:
        return found | {f"{method}_{level}": Removed(None, SMOOTHER) for method in ("mean", "mode")}
    rest = math.sqrt(sigma**2 - delta**2)
    # an energy of slightly noised images has seen nothing like y; its own one step, where it has one, leads nearer
    mode = posterior_mode(energy, y, y if one_step is None else one_step, rest, rng, steps=steps)
    ends = [
        tweedie(energy, posterior_mean(energy, y, start, rest, rng.stream(f"chains {level} {k}"), steps=steps), delta)
        for k, start in enumerate((mode, y))
    ]
    apart = float((ends[0] - ends[1]).square().mean().sqrt()) / sigma
    warning = "" if apart <= AGREEMENT else f"chains from the mode and from y end {apart:.2f} of the noise apart"
    return found | {
        f"mean_{level}": Removed((ends[0] + ends[1]) / 2, warning=warning),
        f"mode_{level}": Removed(tweedie(energy, mode, delta)),
    }


def quality(energy: Energy, data: Data, rng: Rng, *, steps: int, per_image: PerImage) -> dict[str, Estimate]:
    """How near the denoised images of every method and level come to the clean ones, by the names of `denoised`.

    The mean over images, with the standard error over images; each image's own value is in the detail.
    """
    cached = energy.denoised if isinstance(energy, TrainedEnergy) else {}
    key = steps, rng.seeds[0], hashlib.sha256(held_out(data).cpu().numpy().tobytes()).hexdigest()
    if key not in cached:
        cached[key] = {
            name: removed
            for level in LEVELS
            for name, removed in denoised(energy, data, rng, level=level, steps=steps).items()
        }
    kept = cached[key]
    found = {}
    for name, removed in kept.items():
        if removed.images is None:
            found[name] = Estimate(None, reason=removed.reason)
            continue
        estimate = judged(removed.images, data, per_image)
        found[name] = replace(estimate, certified=False, reason=removed.warning) if removed.warning else estimate
    return found


def judged(images: Tensor, data: Data, per_image: PerImage, clean: Tensor | None = None) -> Estimate:
    """The mean of `per_image` over denoised images, which are clipped to the data's range as a screen would.

    Args:
        clean: what they are held against; the held-out images if None.
    """
    assert data.value_range is not None
    low, high = data.value_range
    if not bool(images.isfinite().all()):
        return Estimate(None, n=len(images), reason="a denoised image is not finite")
    truth = held_out(data) if clean is None else clean
    values = torch.tensor(per_image(truth.cpu(), images.clamp(low, high).cpu(), high - low))
    stderr = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None
    detail = {"images": values.tolist(), "data_range": high - low}
    return Estimate(float(values.mean()), stderr, len(values), detail=detail)
