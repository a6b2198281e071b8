"""Total-variation denoising."""

from functools import partial
from typing import Annotated

from torch import Tensor

from bench.api import Log, denoiser, filtered


@denoiser(source="Chambolle 2004, An algorithm for total variation minimization; skimage.restoration")
def total_variation(y: Tensor, sigma: float, *, weight: Annotated[float, Log(0.3, 3.0)] = 1.0) -> Tensor:
    """argmin ½‖x - y‖² + λ Σ ‖∇x‖, λ = `weight` · σ."""
    from skimage.restoration import denoise_tv_chambolle

    return filtered(y, partial(denoise_tv_chambolle, weight=weight * sigma))
