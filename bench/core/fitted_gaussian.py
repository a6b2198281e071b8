"""The Gaussian law with the training data's mean and covariance: a known density that objectives contrast with."""

from __future__ import annotations

from math import log, pi

import torch
from torch import Tensor, nn

from bench.core.rng import Rng

RIDGE = 1e-3  # of the mean variance: a pixel that never changes has no variance of its own


class FittedGaussian(nn.Module):
    """n = N(mean, covariance) of the training data.

    Args:
        x_train: training data (n, *event), or (S, n, *event); a stack has a law for each seed.
    """

    mean: Tensor
    factor: Tensor
    whitening: Tensor

    def __init__(self, x_train: Tensor, rng: Rng) -> None:
        super().__init__()
        flat = x_train.flatten(rng.batch_ndim)
        mean = flat.mean(-2, keepdim=True)
        covariance = (flat - mean).mT @ (flat - mean) / flat.shape[-2]
        identity = torch.eye(flat.shape[-1], dtype=flat.dtype, device=flat.device)
        ridge = RIDGE * covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * identity
        factor = torch.linalg.cholesky(covariance + ridge)
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)
        self.register_buffer("whitening", torch.linalg.solve_triangular(factor, identity, upper=False))

    def log_density(self, x: Tensor, rng: Rng) -> Tensor:
        """log n(x) in nats, (*batch, *event) -> (*batch,)."""
        return self._of_white((x.flatten(rng.batch_ndim) - self.mean) @ self.whitening.mT)

    def draw(self, like: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Draws of n shaped as `like`, (*batch, *event), and their log densities, (*batch,)."""
        white = rng.normal_like(like.flatten(rng.batch_ndim))
        return (self.mean + white @ self.factor.mT).reshape(like.shape), self._of_white(white)

    def _of_white(self, white: Tensor) -> Tensor:
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        return -0.5 * white.square().sum(-1) - log_det - 0.5 * white.shape[-1] * log(2 * pi)
