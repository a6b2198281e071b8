"""Noise-contrastive estimation whose noise is a flow that learns to pass for the data."""

from math import log, pi
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from bench.api import Energy, Integer, Log, Rng, objective


@objective(
    label="FCE",
    family="noise contrastive estimation",
    source="Gao et al. 2020, Flow contrastive estimation of energy-based models",
    note="A game: the energy tells data from noise, the flow tries to prevent it; log Z is learned. The flow starts as "
    "a Gaussian with the data's means and deviations, not trained beforehand.",
    proof={"couplings": 2, "width": 16},
)
class FlowContrastiveEstimation(nn.Module):
    r"""sp(-r(x)) + sp(r(y)), r = -E - log Z - log n, y ~ n, sp = softplus; E and log Z minimise, the flow n maximises.

    Whatever n, it is stationary in the energy at exp(-E) / Z = p; the nearer n is to p, the more each draw tells. The
    flow y = mean + std·g(z), z ~ N(0, I), is of affine couplings: each scales by exp(tanh) and shifts every second
    coordinate, in turn, by a network of one hidden layer (SiLU) of the others, and starts as the identity. Its draws
    and their density carry its gradient, so that it takes a step with each step of the energy.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for mean and deviation of each coordinate.
        couplings: affine couplings of the flow.
        width: units in a hidden layer of a coupling.
        flow_lr: the flow's learning rate, before warm-up and decay.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. `log_z` is (1,), or (S, 1) for a stack.
    """

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        couplings: Annotated[int, Integer(1, 32)] = 6,
        width: Annotated[int, Integer(1, 1024)] = 32,
        flow_lr: Annotated[float, Log(1e-6, 1e-1)] = 2e-4,
    ) -> None:
        super().__init__()
        self.flow_lr = flow_lr
        flat = x_train.flatten(rng.batch_ndim)
        self.mean, deviation = nn.Buffer(flat.mean(-2, keepdim=True)), flat.std(-2, keepdim=True)
        # a pixel that never changes has no deviation of its own
        self.deviation = nn.Buffer((deviation.square() + 1e-3 * deviation.square().mean(-1, keepdim=True)).sqrt())
        dim, like = flat.shape[-1], flat
        parity = torch.arange(dim, device=like.device) % 2
        self.masks = nn.Buffer(torch.stack([(parity == k % 2).to(like.dtype) for k in range(couplings)]))
        draw = [
            (2 * rng.uniform((*rng.batch_shape(dim), width), like.dtype) - 1) * (3 / dim) ** 0.5 for _ in self.masks
        ]
        self.first = nn.ParameterList(map(nn.Parameter, draw))
        self.shift = nn.ParameterList(nn.Parameter(like.new_zeros((*rng.batch_shape(1), width))) for _ in self.masks)
        self.last = nn.ParameterList(nn.Parameter(like.new_zeros((*rng.batch_shape(width), 2 * dim))) for _ in draw)
        self.bias = nn.ParameterList(nn.Parameter(like.new_zeros((*rng.batch_shape(1), 2 * dim))) for _ in self.masks)
        self.log_z = nn.Parameter(x_train.new_zeros(rng.batch_shape(1)))

    def param_groups(self) -> list[dict[str, Any]]:
        """The flow climbs where the energy and log Z descend."""
        flow = [p for p in self.parameters() if p is not self.log_z]
        return [{"params": [self.log_z]}, {"params": flow, "lr": self.flow_lr, "maximize": True}]

    def coupling(self, k: int, u: Tensor) -> tuple[Tensor, Tensor]:
        """Log scale and shift of every coordinate, 0 where coupling k leaves it, (*batch, d) each."""
        hidden = silu((self.masks[k] * u) @ self.first[k] + self.shift[k])
        log_scale, shift = ((1 - self.masks[k]).repeat(2) * (hidden @ self.last[k] + self.bias[k])).chunk(2, -1)
        return log_scale.tanh(), shift

    def log_density(self, x: Tensor, rng: Rng) -> Tensor:
        """log n(x) in nats, (*batch, *event) -> (*batch,)."""
        u = (x.flatten(rng.batch_ndim) - self.mean) / self.deviation
        log_det = self.deviation.log().sum(-1)
        for k in reversed(range(len(self.masks))):
            log_scale, shift = self.coupling(k, u)
            u = (u - shift) * (-log_scale).exp()
            log_det = log_det + log_scale.sum(-1)
        return -0.5 * u.square().sum(-1) - log_det - 0.5 * u.shape[-1] * log(2 * pi)

    def draw(self, like: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Draws of n shaped as `like`, (*batch, *event), and their log densities, (*batch,)."""
        u = rng.normal_like(like.flatten(rng.batch_ndim))
        log_n = -0.5 * u.square().sum(-1) - self.deviation.log().sum(-1) - 0.5 * u.shape[-1] * log(2 * pi)
        for k in range(len(self.masks)):
            log_scale, shift = self.coupling(k, u)
            u, log_n = u * log_scale.exp() + shift, log_n - log_scale.sum(-1)
        return (self.mean + self.deviation * u).reshape(like.shape), log_n

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        noise, log_n = self.draw(x, rng)
        data_odds = -energy(x) - self.log_z - self.log_density(x, rng)
        loss: Tensor = softplus(-data_odds) + softplus(-energy(noise) - self.log_z - log_n)
        return loss
