"""Structural similarity of denoised held-out images."""

from typing import Annotated

from torch import Tensor

from bench.api import Data, Energy, Estimate, Integer, Rng, denoising_quality, metric, ssim


@metric(needs={"value_range"}, unit="", better="higher", version=1)
def denoising_ssim(
    energy: Energy, samples: Tensor, data: Data, rng: Rng, *, steps: Annotated[int, Integer(2, 10_000)] = 50
) -> dict[str, Estimate]:
    """Mean structural similarity (Wang et al. 2004) of the same images as in `denoising_psnr`, at the same noise."""
    return denoising_quality(energy, data, rng, steps=steps, per_image=ssim)
