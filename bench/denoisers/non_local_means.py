"""Non-local means."""

from functools import partial
from typing import Annotated

from torch import Tensor

from bench.api import Log, denoiser, filtered


@denoiser(source="Buades et al. 2005, A non-local algorithm for image denoising; skimage.restoration")
def non_local_means(y: Tensor, sigma: float, *, strength: Annotated[float, Log(0.3, 3.0)] = 0.8) -> Tensor:
    """Σ wᵢⱼ yⱼ, wᵢⱼ ∝ exp(-max(d²(i, j) - 2σ², 0) / h²), h = `strength` · σ.

    d² is the mean squared difference of the 5x5 patches around i and j, and j lies within 6 pixels of i.
    """
    from skimage.restoration import denoise_nl_means

    window = {"patch_size": 5, "patch_distance": 6, "fast_mode": True}
    return filtered(y, partial(denoise_nl_means, h=strength * sigma, sigma=sigma, **window))
