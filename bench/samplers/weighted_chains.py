"""Chains that carry weights: they stand for the law of an energy that changes as they run, however fast it does."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn

from bench.core.derivatives import Energy, energy_and_score, per_example, sum_event
from bench.core.fitted_gaussian import FittedGaussian
from bench.core.rng import Rng
from bench.samplers.chain import transitions


class WeightedChains(nn.Module):
    r"""Walkers X with log weights A, A += E(X) - E'(Y) + log k'(X|Y) - log k(Y|X) for each transition X -> Y.

    k(Y|X) = N(Y; X + (ε/2) s(X), εI) is one step of unadjusted Langevin; a prime means the energy at the next call. For
    any sequence of energies that does not depend on the walkers, E[e^A f(X)] = ∫ exp(-E) f: weighted means converge to
    those of q with the number of walkers, whatever the step, and the mean weight to Z.   (Neal 2001; Carbone 2023)

    Walkers begin in the Gaussian fitted to the data, and A as minus its log density.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the law in which walkers begin.
        walkers: how many there are.
        step_size: ε, in squared units of x.
        resample: where the effective sample size falls below this share of the walkers, they are drawn anew by their
            weights (systematic resampling), and all take the log of the mean weight.

    Attributes:
        x: the walkers, (walkers, *event), or (S, walkers, *event).
        log_z: log of the mean weight at the last call, (1,), or (S, 1).
    """

    x: Tensor
    origin: Tensor
    pending: Tensor
    log_z: Tensor

    def __init__(self, x_train: Tensor, rng: Rng, *, walkers: int, step_size: float, resample: float) -> None:
        super().__init__()
        self.epsilon, self.resample = step_size, resample
        like = x_train.new_empty((*rng.batch_shape(walkers), *x_train.shape[rng.batch_ndim :]))
        start, log_density = FittedGaussian(x_train, rng).draw(like, rng)
        z = rng.normal_like(start)
        # the first step is without drift, as there is no energy yet
        self.register_buffer("x", start + step_size**0.5 * z)
        self.register_buffer("origin", start)
        self.register_buffer("pending", 0.5 * sum_event(z.square(), rng) - log_density)
        self.register_buffer("log_z", x_train.new_zeros(rng.batch_shape(1)))

    def advance(self, energy: Energy, rng: Rng, *, steps: int = 1) -> tuple[Tensor, Tensor]:
        """Walkers that stand for exp(-E), (*batch, *event), and their normalised weights, (*batch,); then moves them.

        Args:
            steps: transitions. All but the last come before what is returned; that one is weighed at the next call.
        """
        for _ in transitions(steps):
            x = self.x.clone()
            here, drift = energy_and_score(energy, x)
            back = self.origin - x - 0.5 * self.epsilon * drift
            log_weights = self.pending - here - sum_event(back.square(), rng) / (2 * self.epsilon)
            weights = log_weights.softmax(-1)
            self.log_z.copy_(log_weights.logsumexp(-1, keepdim=True) - log(weights.shape[-1]))
            self._move(x, here, drift, log_weights, weights, rng)
        return x, weights

    def _move(self, x: Tensor, here: Tensor, drift: Tensor, log_weights: Tensor, weights: Tensor, rng: Rng) -> None:
        axis, count = rng.batch_ndim - 1, weights.shape[-1]
        uneven = self.resample * count * weights.square().sum(-1, keepdim=True) > 1
        ticks = torch.arange(count, device=x.device)
        ladder = (ticks + rng.uniform(rng.batch_shape(1), x.dtype)) / count
        drawn = torch.searchsorted(weights.cumsum(-1), ladder).clamp(max=count - 1)
        index = torch.where(uneven, drawn, ticks)
        x, drift = (t.gather(axis, per_example(index, t).expand_as(t)) for t in (x, drift))
        z = rng.normal_like(x)
        self.origin.copy_(x)
        self.x.copy_(x + 0.5 * self.epsilon * drift + self.epsilon**0.5 * z)
        kept = torch.where(uneven, self.log_z, log_weights)
        self.pending.copy_(kept + here.gather(axis, index) + 0.5 * sum_event(z.square(), rng))
