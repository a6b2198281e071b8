"""Noise-contrastive estimation against a smoothed sample of the training data."""

from math import log, pi
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from bench.api import Energy, Integer, Rng, objective


@objective(
    family="noise contrastive estimation",
    divergence="noise contrastive",
    bias=None,  # centres are examples, and quadrature knows the law they are drawn from
    source="Gutmann & Hyvärinen 2010, Noise-contrastive estimation; the noise is a smoothed bootstrap with shrinkage "
    "(Silverman & Young 1987) with the bandwidth of Scott 1992",
    note="The noise is a kernel density with the training data's mean and covariance; log Z is learned.",
)
class NoiseContrastiveEstimation(nn.Module):
    r"""sp(-r(x)) + Σⱼ sp(r(yⱼ)), r = -E - log Z - log n - log ν, yⱼ ~ n, j = 1..ν, sp = softplus.

    Logistic regression of data against ν times as many draws of a known law n, r being the log odds of "data".
    Stationary at exp(-E) / Z = p, with log Z found as a parameter: the one objective here whose model comes
    normalised. As ν -> ∞ its gradient is that of maximum likelihood. Which n is free, and the closer to the data the
    less the estimate varies (Gutmann & Hyvärinen): here n = (1/K) Σₖ N(m + √(1 - h²) (cₖ - m), h²C), with m and C the
    mean and covariance of the training data, cₖ K examples of them and h = K^(-1/(d+4)). Drawn towards m like this,
    centres and kernels together keep the covariance C; K = 1 is the Gaussian N(m, C) itself, and in many dimensions
    h tends to 1, so that n does too.

    Args:
        x_train: the training data (n, *event), or (S, n, *event), that n is fitted to.
        ratio: ν, the draws of noise for each example.
        centres: K, at most the number of training examples.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. `log_z` is (1,), or (S, 1) for a stack.
    """

    mean: Tensor
    factor: Tensor
    whitening: Tensor
    centres: Tensor

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        ratio: Annotated[int, Integer(1, 1000)] = 4,
        centres: Annotated[int, Integer(1, 10_000)] = 128,
    ) -> None:
        super().__init__()
        self.ratio = ratio
        flat = x_train.flatten(rng.batch_ndim)
        mean = flat.mean(-2, keepdim=True)
        covariance = (flat - mean).mT @ (flat - mean) / flat.shape[-2]
        identity = torch.eye(flat.shape[-1], dtype=flat.dtype, device=flat.device)
        # a pixel that never changes has no variance of its own
        ridge = 1e-3 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * identity
        factor = torch.linalg.cholesky(covariance + ridge)
        whitening = torch.linalg.solve_triangular(factor, identity, upper=False)
        count = min(centres, flat.shape[-2])
        self.bandwidth = count ** (-1 / (flat.shape[-1] + 4))
        slots = rng.distinct(flat.shape[-2], rng.batch_shape(count)).unsqueeze(-1)
        chosen = flat.gather(-2, slots.expand(*slots.shape[:-1], flat.shape[-1]))
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)
        self.register_buffer("whitening", whitening)
        self.register_buffer("centres", (1 - self.bandwidth**2) ** 0.5 * (chosen - mean) @ whitening.mT)
        self.log_z = nn.Parameter(x_train.new_zeros(rng.batch_shape(1)))

    def log_noise(self, white: Tensor) -> Tensor:
        """log n at mean + factor·white, from the whitened point (*batch, d); the answer is (*batch,)."""
        dim, count = white.shape[-1], self.centres.shape[-2]
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        square = (white / self.bandwidth).square().sum(-1, keepdim=True)
        square = square - 2 * white @ self.centres.mT / self.bandwidth**2
        square = square + (self.centres / self.bandwidth).square().sum(-1).unsqueeze(-2)
        kernels: Tensor = (-0.5 * square).logsumexp(-1) - log(count)
        return kernels - log_det - dim * log(self.bandwidth) - 0.5 * dim * log(2 * pi)

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        batch = rng.batch_ndim - 1
        white = (x.flatten(rng.batch_ndim) - self.mean) @ self.whitening.mT
        slots = rng.integers(self.centres.shape[-2], (*x.shape[:batch], self.ratio * x.shape[batch])).unsqueeze(-1)
        chosen = self.centres.gather(-2, slots.expand(*slots.shape[:-1], white.shape[-1]))
        white_noise = chosen + self.bandwidth * rng.normal_like(chosen)
        noise = (self.mean + white_noise @ self.factor.mT).unflatten(-1, x.shape[rng.batch_ndim :])
        data_odds = -energy(x) - self.log_z - self.log_noise(white) - log(self.ratio)
        noise_odds = -energy(noise) - self.log_z - self.log_noise(white_noise) - log(self.ratio)
        data_loss: Tensor = softplus(-data_odds)
        noise_loss: Tensor = softplus(noise_odds).unflatten(-1, (-1, self.ratio)).sum(-1)
        return data_loss + noise_loss
