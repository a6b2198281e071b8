"""Missing pixels and doubled resolution with an energy as the prior, by descent to the posterior's mode.

y = Ax + σz, where A leaves half of the pixels out, or averages squares of 2×2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.core.data_types import Data, Estimate
from bench.core.derivatives import Energy
from bench.core.rng import Rng
from bench.evaluation.denoising import SMOOTHER, PerImage, descent, held_out, in_units, judged, tweedie
from bench.evaluation.trained_energy import TrainedEnergy

LEVEL = 15  # of 255, the noise in y
KEPT = 0.5  # of the pixels
REACH, WIDTH = 4, 1.5  # of the Gaussian window, in pixels, that fills in what is missing before the descent


@dataclass(frozen=True)
class Task:
    """What is observed of images (n, C, H, W), and how a guess of them begins.

    Attributes:
        gain: the variance of white noise of unit variance after A.
        start: y -> a first guess of x, the ruler that the prior has to beat.
    """

    observe: Callable[[Tensor], Tensor]
    start: Callable[[Tensor], Tensor]
    gain: float


def tasks(images: Tensor, rng: Rng) -> dict[str, Task]:
    """{"inpainting": ..., "super_resolution": ...}; sides that are odd lose their last pixel in the second."""
    mask = (Rng(rng.seeds[0], "missing pixels").uniform((len(images), 1, *images.shape[-2:])) < KEPT).to(images)
    return {
        "inpainting": Task(lambda x: mask * x, lambda y: filled_in(y, mask), 1.0),
        "super_resolution": Task(
            lambda x: nn.functional.avg_pool2d(x, 2),
            lambda y: nn.functional.interpolate(y, scale_factor=2, mode="bicubic", align_corners=False),
            0.25,
        ),
    }


def filled_in(y: Tensor, mask: Tensor) -> Tensor:
    """y where the mask is 1, elsewhere the mean of what is known around, by a Gaussian window."""
    place = torch.arange(-REACH, REACH + 1, device=y.device, dtype=y.dtype)
    window = torch.exp(-0.5 * (place / WIDTH).square())
    kernel = torch.outer(window, window)[None, None]

    def blurred(x: Tensor) -> Tensor:
        flat = x.reshape(-1, 1, *x.shape[-2:])
        return nn.functional.conv2d(flat, kernel, padding=REACH).reshape(x.shape)

    return mask * y + (1 - mask) * blurred(mask * y) / blurred(mask).clamp(min=1e-6)


def restored(energy: Energy, y: Tensor, task: Task, sigma: float, *, steps: int) -> Tensor | None:
    """argmin E(u) + ‖y - Au‖² / 2r², then E[x|u], of a prior of u = x + δw; r² = σ² - gain · δ².

    None if r is not real: the model is of a law that is smoother than what is observed.
    """
    delta = energy.smoothing if isinstance(energy, TrainedEnergy) else 0.0
    rest = sigma**2 - task.gain * delta**2
    if rest <= 0.02 * sigma**2:
        return None

    def posterior(u: Tensor) -> Tensor:
        return energy(u) + (y - task.observe(u)).square().flatten(1).sum(-1) / (2 * rest)

    return tweedie(energy, descent(posterior, task.start(y), steps=steps), delta)


def restoration_quality(
    energy: Energy, data: Data, rng: Rng, *, steps: int, per_image: PerImage
) -> dict[str, Estimate]:
    """How near restored images come to the clean ones, by task: the mean over images, with each one's in the detail.

    The detail's `start` has the values of the first guess: what is around, or bicubic interpolation.
    """
    clean, sigma = held_out(data), in_units(data, LEVEL)
    clean = clean[..., : clean.shape[-2] // 2 * 2, : clean.shape[-1] // 2 * 2]
    found = {}
    for name, task in tasks(clean, rng).items():
        seen = task.observe(clean)
        z = Rng(rng.seeds[0], f"noise of {name}").normal(seen.shape, seen.dtype).to(seen.device)
        y = task.observe(clean + sigma * z) if name == "inpainting" else seen + sigma * z
        images = restored(energy, y, task, sigma, steps=steps)
        if images is None:
            found[name] = Estimate(None, reason=SMOOTHER)
            continue
        begun = judged(task.start(y), data, per_image, clean)
        estimate = judged(images, data, per_image, clean)
        detail = {**estimate.detail, "start": begun.detail.get("images")}
        found[name] = Estimate(estimate.value, estimate.stderr, estimate.n, reason=estimate.reason, detail=detail)
    return found
