"""Maximum likelihood with log Z by quadrature: the reference of two dimensions and one."""

from typing import Annotated

import torch
from torch import Tensor, nn

from bench.api import Energy, Integer, Linear, Rng, objective


@objective(
    label="ML",
    family="maximum likelihood",
    divergence="maximum likelihood",
    bias={"margin": -1},
    source="Fisher 1922, On the mathematical foundations of theoretical statistics; log Z by a jittered midpoint rule",
    note="A reference, not a bound: an exact gradient is not the fastest optimiser at finite steps.",
    max_dim=2,
)
class MaximumLikelihood(nn.Module):
    r"""E(x) + log Σᵢ exp(-E(gᵢ)) Δ, gᵢ the points of a grid of cells of volume Δ, shifted anew at every step.

    The sum is log Z over a box, so the mean over examples is the negative log-likelihood itself. The box is the
    smallest that holds the training data, widened by `margin` of its sides at either end; all the grid is shifted by
    one uniform draw within a cell, so that no energy can hide its mass between the points.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the box; events of one or two dimensions.
        points: grid points along each dimension.
        margin: by how much of its width the box is widened at either end.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats.
    """

    low: Tensor
    cell: Tensor
    corners: Tensor

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        points: Annotated[int, Integer(8, 512)] = 64,
        margin: Annotated[float, Linear(0.0, 2.0)] = 0.25,
    ) -> None:
        super().__init__()
        flat = x_train.flatten(rng.batch_ndim)
        low, high = flat.amin(-2, keepdim=True), flat.amax(-2, keepdim=True)
        wide = margin * (high - low)
        self.register_buffer("low", low - wide)
        self.register_buffer("cell", (high - low + 2 * wide) / points)
        ticks = [torch.arange(points, dtype=flat.dtype, device=flat.device)] * flat.shape[-1]
        self.register_buffer("corners", torch.cartesian_prod(*ticks).reshape(-1, flat.shape[-1]))

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        grid = self.low + self.cell * (self.corners + rng.uniform(self.cell.shape, x.dtype))
        log_z = (-energy(grid.unflatten(-1, x.shape[rng.batch_ndim :]))).logsumexp(-1, keepdim=True)
        return energy(x) + log_z + self.cell.log().sum(-1)
