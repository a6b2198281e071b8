"""Noise-contrastive estimation against a fitted Gaussian."""

from math import log
from typing import Annotated

from torch import Tensor, nn
from torch.nn.functional import softplus

from bench.api import Energy, FittedGaussian, Integer, Rng, objective


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

    def __init__(self, x_train: Tensor, rng: Rng, *, ratio: Annotated[int, Integer(1, 1000)] = 4) -> None:
        super().__init__()
        self.ratio = ratio
        self.noise = FittedGaussian(x_train, rng)
        self.log_z = nn.Parameter(x_train.new_zeros(rng.batch_shape(1)))

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        noise, log_noise = self.noise.draw(x.repeat_interleave(self.ratio, rng.batch_ndim - 1), rng)
        data_odds = -energy(x) - self.log_z - self.noise.log_density(x, rng) - log(self.ratio)
        noise_odds = -energy(noise) - self.log_z - log_noise - log(self.ratio)
        data_loss: Tensor = softplus(-data_odds)
        noise_loss: Tensor = softplus(noise_odds).unflatten(-1, (-1, self.ratio)).sum(-1)
        return data_loss + noise_loss
