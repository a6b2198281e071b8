"""The forward diffusions of diffusion contrastive divergence, dx = f dt + g dw, taken in one stride."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bench.calculus import per_example
from bench.errors import UsageError
from bench.rng import Rng


class Noised(NamedTuple):
    """A noised point and what its posterior needs: q(x|y) ∝ exp(-E(x) - ‖x - z‖² / 2v).

    Attributes:
        y: αx + σε, (*batch, *event).
        z: y / α, the same point on the scale of the data.
        v: (σ/α)², the variance of z given x, shaped as sigma.
        alpha: α, shaped as sigma.
    """

    y: Tensor
    z: Tensor
    v: Tensor
    alpha: Tensor


def noised(x: Tensor, rng: Rng, sigma: float | Tensor, kernel: str) -> Noised:
    """y = αx + σε, ε ~ N(0, I): "ve" keeps α = 1, "vp" has α² = 1 - σ².

    The posterior depends on y through z and v alone, so "vp" at σ is "ve" at σ/α.

    Args:
        x: (*batch, *event); not changed.
        sigma: the standard deviation of the added noise, one number or one an example (*batch,).
        kernel: "ve" (variance exploding) or "vp" (variance preserving).

    Raises:
        UsageError: if the kernel is "vp" and sigma is not below 1.
    """
    scale = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if kernel == "vp" and not bool((scale < 1).all()):
        raise UsageError(f"kernel vp has α² = 1 - sigma², so sigma must be below 1; got {scale.max():g}; use kernel=ve")
    alpha = (1 - scale.square()).sqrt() if kernel == "vp" else torch.ones_like(scale)
    y = per_example(alpha, x) * x.detach() + per_example(scale, x) * rng.normal_like(x)
    return Noised(y, y / per_example(alpha, x), (scale / alpha).square(), alpha)
