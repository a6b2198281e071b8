"""A fully connected energy for vectors."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from bench.api import Integer, Linear, Rng, UsageError, network

FREQUENCIES = 8  # of ln σ, geometric from 1/4 to 4


@network()
class Mlp(nn.Module):
    r"""E(x) = (κ/2) ‖x‖² + G(x), G(h_0) = w · h_L + b with h_{l+1} = SiLU(h_l W_l + b_l).

    Conditional: E(x, σ) = ‖x - μ‖² / 2v + (d/2) ln 2πv - (σ_d/σ) G((x - μ) / √v, σ), v = σ² + σ_d². At G = 0 this is
    the energy of data N(μ, σ_d²I) under noise σ. With it one Tweedie step is μ + c_skip (x - μ) + c_out ∇G with the
    factors of Karras et al. 2022, so that ∇G regresses a target of unit variance at every σ. Each hidden layer of G
    is scaled and shifted, one number a unit, by a linear map of sines and cosines of ln σ (FiLM, Perez et al. 2018).
    The trunk starts with the same weights either way, but for w, here a tenth. μ and σ_d are 0 and 1 until `calibrate`.

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
        confinement: κ of a static energy, in inverse squared units of x; above 0 it keeps exp(-E) integrable, and
            chains from leaving for where there are no data.
    """

    mean: Tensor
    scale: Tensor
    frequencies: Tensor

    def __init__(
        self,
        event_shape: tuple[int, ...],
        rng: Rng,
        conditional: bool = False,
        *,
        width: Annotated[int, Integer(1, 4096)] = 64,
        depth: Annotated[int, Integer(1, 16)] = 2,
        confinement: Annotated[float, Linear(0.0, 100.0)] = 0.0,
    ) -> None:
        super().__init__()
        self.batch_ndim, self.confinement = rng.batch_ndim, confinement
        sizes = [math.prod(event_shape), *[width] * depth, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            for target, rows, bound in ((self.weights, fan_in, 6), (self.biases, 1, 1)):
                target.append(self._uniform(rng, math.sqrt(bound / fan_in), rows, fan_out))
        self.film = None
        if not conditional:
            return
        # near the Gaussian, from which every level is equally far
        self.weights[-1].data.mul_(0.1)
        # drawn last, so that the trunk's draws do not depend on it
        self.film = self._uniform(rng, 1 / math.sqrt(2 * FREQUENCIES), 2 * FREQUENCIES, 2 * depth * width)
        self.register_buffer("frequencies", 2 ** torch.linspace(-2, 2, FREQUENCIES))
        self.register_buffer("mean", torch.zeros(*rng.batch_shape(1), sizes[0]))
        self.register_buffer("scale", torch.ones(rng.batch_shape(1)))

    def _uniform(self, rng: Rng, bound: float, *shape: int) -> nn.Parameter:
        # batch_shape puts S in front for a stack
        rows, *rest = shape
        return nn.Parameter(bound * (2 * rng.uniform((*rng.batch_shape(rows), *rest)) - 1))

    @torch.no_grad()
    def calibrate(self, x_train: Tensor) -> None:
        """Sets μ to the mean of training data (n, *event), or (S, n, *event), and σ_d to their standard deviation.

        σ_d² is the mean over the dimensions. A static energy has neither and stays as it is.

        Raises:
            UsageError: if the data do not vary.
        """
        if self.film is None:
            return
        flat = x_train.flatten(self.batch_ndim)
        self.mean.copy_(flat.mean(-2, keepdim=True))
        self.scale.copy_((flat - self.mean).square().mean((-2, -1)).sqrt().unsqueeze(-1))
        if not bool((self.scale > 0).all()):
            raise UsageError("a noise-conditional energy is calibrated on data that vary; these are all the same")

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        flat = x.flatten(self.batch_ndim)
        if self.film is None:
            free = self._free(flat)
            return free + 0.5 * self.confinement * flat.square().sum(-1) if self.confinement else free
        sigma = condition[0].to(flat.dtype)
        variance = sigma.square() + self.scale.square()
        u = (flat - self.mean) * variance.rsqrt().unsqueeze(-1)
        gaussian = 0.5 * u.square().sum(-1) + 0.5 * u.shape[-1] * (2 * math.pi * variance).log()
        phase = sigma.log().unsqueeze(-1) * self.frequencies
        films = torch.cat([phase.sin(), phase.cos()], -1) @ self.film
        return gaussian - self.scale / sigma * self._free(u, films)

    def _free(self, h: Tensor, films: Tensor | None = None) -> Tensor:
        """G: (*batch, d) -> (*batch,); films are a scale and a shift for each unit, layer by layer."""
        *hidden, (weight, bias) = zip(self.weights, self.biases, strict=True)
        halves = [] if films is None else films.chunk(2 * len(hidden), -1)
        for k, (w, b) in enumerate(hidden):
            h = h @ w + b
            h = nn.functional.silu(torch.addcmul(h + halves[2 * k], h, halves[2 * k + 1]) if halves else h)
        energy: Tensor = (h @ weight + bias).squeeze(-1)
        return energy
