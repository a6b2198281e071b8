"""Gaussian smoothing."""

from functools import partial
from typing import Annotated

from torch import Tensor

from bench.api import Log, denoiser, filtered


@denoiser(source="scikit-image, skimage.filters.gaussian")
def gaussian_filter(y: Tensor, sigma: float, *, width: Annotated[float, Log(0.3, 3.0)] = 1.0) -> Tensor:
    """y * N(0, w²I), w = `width` in pixels; the noise's σ only enters by the choice of w."""
    from skimage.filters import gaussian

    return filtered(y, partial(gaussian, sigma=width))
