"""Translation-invariant wavelet shrinkage."""

from functools import partial
from typing import Annotated

import numpy as np
from torch import Tensor

from bench.api import Log, denoiser, filtered

SHIFTS = 3  # 0 to 3 pixels along each side: 16 shifts


@denoiser(source="Chang et al. 2000, BayesShrink; Coifman & Donoho 1995, cycle spinning; skimage.restoration")
def wavelet_shrinkage(y: Tensor, sigma: float, *, strength: Annotated[float, Log(0.3, 3.0)] = 1.0) -> Tensor:
    """The mean over 16 shifts of BayesShrink on Daubechies-4 wavelets, told a noise of `strength` · σ."""
    from skimage.restoration import cycle_spin, denoise_wavelet

    def shrink(image: np.ndarray, channel_axis: int | None) -> np.ndarray:
        about = {"wavelet": "db4", "method": "BayesShrink", "channel_axis": channel_axis}
        once = partial(denoise_wavelet, sigma=strength * sigma, **about)
        spun: np.ndarray = cycle_spin(image, func=once, max_shifts=SHIFTS, channel_axis=channel_axis, workers=1)
        return spun

    return filtered(y, shrink)
