"""Maximum likelihood with a learned normaliser and unbiased gradients."""

from typing import Annotated

from torch import Tensor, nn

from bench.api import Energy, FittedGaussian, Integer, Rng, objective


@objective(
    label="SNL",
    family="maximum likelihood",
    divergence="maximum likelihood",
    source="Self-normalised log-likelihood, 2025, arXiv 2503.07021",
    note="The proposal is a Gaussian with the training data's mean and covariance; log Z is learned.",
)
class SelfNormalisedLikelihood(nn.Module):
    r"""E(x) + b + (1/ν) Σⱼ exp(-E(yⱼ) - b) / r(yⱼ) - 1, yⱼ ~ r, j = 1..ν.

    Since log Z = min over b of b + Z e^{-b} - 1, attained at b = log Z, the expected loss lies above the negative
    log-likelihood for every b and equals it at the best one: its minimum is that of maximum likelihood, with log Z
    found as a parameter. Z enters linearly, so importance weights give unbiased gradients with any number of draws,
    where the logarithm of their mean would not. At its first call b is set to the draws' own log Ẑ.

    Args:
        x_train: the training data (n, *event), or (S, n, *event), that r = N(mean, covariance) is fitted to.
        ratio: ν, the draws of the proposal for each example.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. `log_z`, that is b, is (1,), or (S, 1) for a stack.
    """

    started: Tensor

    def __init__(self, x_train: Tensor, rng: Rng, *, ratio: Annotated[int, Integer(1, 1000)] = 4) -> None:
        super().__init__()
        self.ratio = ratio
        self.proposal = FittedGaussian(x_train, rng)
        self.log_z = nn.Parameter(x_train.new_zeros(rng.batch_shape(1)))
        self.register_buffer("started", x_train.new_zeros(rng.batch_shape(1)))

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        draws, log_r = self.proposal.draw(x.repeat_interleave(self.ratio, rng.batch_ndim - 1), rng)
        log_weights = -energy(draws) - log_r
        first = (1 - self.started) * log_weights.detach().exp().mean(-1, keepdim=True).log()
        self.log_z.data.add_(first)
        self.started.fill_(1.0)
        partition: Tensor = (log_weights - self.log_z).exp().unflatten(-1, (-1, self.ratio)).mean(-1)
        return energy(x) + self.log_z + partition - 1
