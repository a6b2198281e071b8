"""Peak signal-to-noise ratio of held-out images of which something is missing beside their noise."""

from typing import Annotated

from torch import Tensor

from bench.api import Data, Energy, Estimate, Integer, Rng, metric, psnr, restoration_quality


@metric(needs={"value_range"}, unit="dB", better="higher", version=1, dear=True)
def restoration_psnr(
    energy: Energy, samples: Tensor, data: Data, rng: Rng, *, steps: Annotated[int, Integer(2, 10_000)] = 50
) -> dict[str, Estimate]:
    """10 log₁₀(range² / mean squared error) of images restored from y = Ax + σz, σ = 15 of 255.

    `inpainting`: A leaves half of the pixels out, at random. `super_resolution`: A averages squares of 2×2. The energy
    is the prior, by descent to the posterior's mode of at most `steps` gradients.
    """
    return restoration_quality(energy, data, rng, steps=steps, per_image=psnr)
