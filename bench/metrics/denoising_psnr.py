"""Peak signal-to-noise ratio of denoised held-out images."""

from typing import Annotated

from torch import Tensor

from bench.api import Data, Energy, Estimate, Integer, Rng, denoising_quality, metric, psnr


@metric(needs={"value_range"}, unit="dB", better="higher", version=1)
def denoising_psnr(
    energy: Energy, samples: Tensor, data: Data, rng: Rng, *, steps: Annotated[int, Integer(2, 10_000)] = 50
) -> dict[str, Estimate]:
    """10 log₁₀(range² / mean squared error) of images that were noised by σ = 15, 25, 50 of 255 and denoised.

    The energy is the prior, in three ways: `tweedie`, one step y + σ² s(y), where the model has that noise level; and
    `mean` and `mode` of the posterior exp(-E(x) - ‖y - x‖² / 2σ²), by MALA chains and by descent, `steps` of each.
    """
    return denoising_quality(energy, data, rng, steps=steps, per_image=psnr)
