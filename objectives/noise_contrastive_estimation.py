"""Noise-contrastive estimation against a fitted Gaussian."""

from math import log, pi
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from bench.api import Energy, Integer, Rng, objective


@objective(
    label="NCE",
    family="noise contrastive estimation",
    divergence="noise contrastive",
    source="Gutmann & Hyvärinen 2010, Noise-contrastive estimation",
    note="The noise is a Gaussian with the training data's mean and covariance; log Z is learned.",
)
class NoiseContrastiveEstimation(nn.Module):
    r"""sp(-r(x)) + Σⱼ sp(r(yⱼ)), r = -E - log Z - log n - log ν, yⱼ ~ n, j = 1..ν, sp = softplus.

    Logistic regression of data against ν times as many draws of a known law n, r being the log odds of "data".
    Stationary at exp(-E) / Z = p, with log Z found as a parameter: the one objective here whose model comes
    normalised. As ν -> ∞ its gradient is that of maximum likelihood.

    Args:
        x_train: the training data (n, *event), or (S, n, *event), that n = N(mean, covariance) is fitted to.
        ratio: ν, the draws of noise for each example.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. `log_z` is (1,), or (S, 1) for a stack.
    """

    mean: Tensor
    factor: Tensor
    whitening: Tensor

    def __init__(self, x_train: Tensor, rng: Rng, *, ratio: Annotated[int, Integer(1, 1000)] = 4) -> None:
        super().__init__()
        self.ratio = ratio
        flat = x_train.flatten(rng.batch_ndim)
        mean = flat.mean(-2, keepdim=True)
        covariance = (flat - mean).mT @ (flat - mean) / flat.shape[-2]
        identity = torch.eye(flat.shape[-1], dtype=flat.dtype, device=flat.device)
        # a pixel that never changes has no variance of its own
        ridge = 1e-3 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * identity
        factor = torch.linalg.cholesky(covariance + ridge)
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)
        self.register_buffer("whitening", torch.linalg.solve_triangular(factor, identity, upper=False))
        self.log_z = nn.Parameter(x_train.new_zeros(rng.batch_shape(1)))

    def log_noise(self, white: Tensor) -> Tensor:
        """log n at mean + factor·white, from the whitened point (*batch, d); the answer is (*batch,)."""
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        return -0.5 * white.square().sum(-1) - log_det - 0.5 * white.shape[-1] * log(2 * pi)

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        batch = rng.batch_ndim - 1
        white = (x.flatten(rng.batch_ndim) - self.mean) @ self.whitening.mT
        white_noise = rng.normal_like(white.repeat_interleave(self.ratio, batch))
        noise = (self.mean + white_noise @ self.factor.mT).unflatten(-1, x.shape[rng.batch_ndim :])
        data_odds = -energy(x) - self.log_z - self.log_noise(white) - log(self.ratio)
        noise_odds = -energy(noise) - self.log_z - self.log_noise(white_noise) - log(self.ratio)
        data_loss: Tensor = softplus(-data_odds)
        noise_loss: Tensor = softplus(noise_odds).unflatten(-1, (-1, self.ratio)).sum(-1)
        return data_loss + noise_loss
