"""The noisy image itself."""

from torch import Tensor

from bench.api import denoiser


@denoiser(source="nothing is done")
def noisy_image(y: Tensor, sigma: float) -> Tensor:
    """y, unchanged: what everything else must beat."""
    return y
