"""A fully connected energy for vectors."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

from torch import Tensor, nn

from bench.api import Integer, Rng, network, per_example


@network()
class Mlp(nn.Module):
    """E(x) = w · h_L + b with h_{l+1} = SiLU(h_l W_l + b_l), h_0 = x.

    Conditional: the first layer also adds c ln σ. The trunk starts with the same weights either way.

    Weights are (in, out) for one seed and (S, in, out) for a stack, so both run the same code. They start uniform in
    ±√(6/in), which keeps the size of the signal from layer to layer (He et al. 2015); under torch's own ±1/√in the
    energy starts nearly flat, and every objective spends half of a short training leaving that. Biases start uniform in
    ±1/√in. Events of any shape are flattened: (*batch, *event) -> (*batch,).

    Args:
        event_shape: the shape of one example.
        rng: the stream of the initial weights.
        conditional: whether the energy takes a noise level σ.
        width: units in a hidden layer.
        depth: hidden layers.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        rng: Rng,
        conditional: bool = False,
        *,
        width: Annotated[int, Integer(1, 4096)] = 64,
        depth: Annotated[int, Integer(1, 16)] = 2,
    ) -> None:
        super().__init__()
        self.batch_ndim = rng.batch_ndim
        sizes = [math.prod(event_shape), *[width] * depth, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            for target, rows, bound in ((self.weights, fan_in, 6), (self.biases, 1, 1)):
                # batch_shape puts S in front for a stack
                values = rng.uniform((*rng.batch_shape(rows), fan_out))
                target.append(nn.Parameter(math.sqrt(bound / fan_in) * (2 * values - 1)))

        # drawn last, so that the trunk's draws do not depend on it
        self.level = nn.Parameter(2 * rng.uniform((*rng.batch_shape(1), width)) - 1) if conditional else None

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        h = x.flatten(self.batch_ndim)
        *hidden, (weight, bias) = zip(self.weights, self.biases, strict=True)
        for k, (w, b) in enumerate(hidden):
            h = h @ w + b
            if k == 0 and self.level is not None:
                h = h + per_example(condition[0].log(), h).to(h.dtype) * self.level
            h = nn.functional.silu(h)
        energy: Tensor = (h @ weight + bias).squeeze(-1)
        return energy
