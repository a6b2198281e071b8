"""A small convolutional energy for images."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

from torch import Tensor, nn

from bench.api import Integer, Linear, Rng, UsageError, network, per_example


@network(event="image")
class Convolutional(nn.Module):
    """E(x) = (κ/2) ‖x‖² + w · h_L: 3x3 convolutions with SiLU; `depth` stages halve the size and double the width.

    Conditional: every layer's output is shifted and scaled, one number a channel, by an affine map of ln σ (FiLM, Perez
    et al. 2018). The quadratic term keeps exp(-E) integrable. Weights are (*stack, out, in, 3, 3); a stack runs as
    one grouped convolution; filters start uniform in ±√(6/in) (He et al. 2015). Input is (*batch, C, H, W), output
    (*batch,).

    Args:
        event_shape: (C, H, W); H and W must be multiples of 2^depth.
        rng: the stream of the initial weights.
        conditional: whether the energy takes a noise level σ.
        width: channels of the first layer.
        depth: stages of stride 2.
        confinement: κ, in inverse squared units of x.

    Raises:
        UsageError: if the images cannot be halved `depth` times.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        rng: Rng,
        conditional: bool = False,
        *,
        width: Annotated[int, Integer(1, 512)] = 16,
        depth: Annotated[int, Integer(1, 5)] = 2,
        confinement: Annotated[float, Linear(0.0, 100.0)] = 1.0,
    ) -> None:
        super().__init__()
        channels, *size = event_shape
        if any(n % 2**depth for n in size):
            raise UsageError(f"image sides must be multiples of 2^depth = {2**depth}; got {size}; use a smaller depth")
        self.rng_shape = rng.batch_shape(0)[:-1]
        self.confinement = confinement
        widths = [channels, *(width * 2**k for k in range(depth + 1))]
        self.filters, self.biases, self.films = (nn.ParameterList() for _ in range(3))
        for inside, outside in pairwise(widths):
            fan_in = 9 * inside
            self.filters.append(self._uniform(rng, math.sqrt(6 / fan_in), outside, inside, 3, 3))
            self.biases.append(self._uniform(rng, math.sqrt(1 / fan_in), outside))
        features = widths[-1] * math.prod(n // 2**depth for n in size)
        self.readout = self._uniform(rng, 1 / math.sqrt(features), features)
        # drawn last, so that the trunk's draws do not depend on them
        self.films.extend(self._uniform(rng, 1.0, 4, outside) for outside in widths[1:] * conditional)

    def _uniform(self, rng: Rng, bound: float, *shape: int) -> nn.Parameter:
        return nn.Parameter(bound * (2 * rng.uniform((*self.rng_shape, *shape)) - 1))

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        stacked = bool(self.rng_shape)
        stacks = self.rng_shape[0] if stacked else 1
        h = x.transpose(0, 1).flatten(1, 2) if stacked else x
        for k, (filters, bias) in enumerate(zip(self.filters, self.biases, strict=True)):
            kernel, offset = (filters.flatten(0, 1), bias.flatten()) if stacked else (filters, bias)
            h = nn.functional.conv2d(h, kernel, offset, stride=1 if k == 0 else 2, padding=1, groups=stacks)
            if condition:
                h = self._film(self.films[k], h, condition[0])
            h = nn.functional.silu(h)
        h = h.reshape(len(h), stacks, -1)
        energy: Tensor = (h * self.readout).sum(-1)
        energy = energy.transpose(0, 1) if stacked else energy.squeeze(1)
        return energy + 0.5 * self.confinement * x.flatten(1 + stacked).square().sum(-1)

    def _film(self, film: Tensor, h: Tensor, sigma: Tensor) -> Tensor:
        # (*batch, out) maps, brought to the folded layout (B, S·out, 1, 1)
        level = sigma.log().to(h.dtype).unsqueeze(-1)
        rows = film.unsqueeze(-2)
        scale, shift = (rows[..., i, :, :] * level + rows[..., i + 1, :, :] for i in (0, 2))
        folded = [t.transpose(0, 1).flatten(1) if self.rng_shape else t for t in (scale, shift)]
        return h * (1 + per_example(folded[0], h)) + per_example(folded[1], h)
