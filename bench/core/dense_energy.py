"""What fully connected energies share: their trunk, its conditioning, and the Gaussian that they start from."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from bench.common.errors import UsageError
from bench.core.rng import Rng

FREQUENCIES = 8  # of ln σ, geometric from 1/4 to 4


class DenseEnergy(nn.Module):
    r"""Static: E(x) = (κ/2) ‖u‖² + G(φ(u)), u = x, or (x - μ)/σ_d if `standardised`. Conditional: E(x, σ) below.

    E(x, σ) = ‖u‖²/2 + (d/2) ln 2πv - (σ_d/σ) G(φ(u), σ), u = (x - μ)/√v, v = σ² + σ_d². At G = 0 this is the energy of
    data N(μ, σ_d²I) under noise σ. With it one Tweedie step is μ + c_skip (x - μ) + c_out ∇G with the factors of Karras
    et al. 2022, so that ∇G regresses a target of unit variance at every σ. Each hidden layer of G is scaled and
    shifted, one number a unit, by a linear map of sines and cosines of ln σ (FiLM, Perez et al. 2018). The trunk starts
    with the same weights either way, but for the last layer's, here a tenth. μ and σ_d are 0 and 1 until `calibrate`.

    Weights are (in, out) for one seed and (S, in, out) for a stack, so both run the same code. They start uniform in
    ±√(6/in), which keeps the size of the signal from layer to layer (He et al. 2015); under torch's own ±1/√in the
    energy starts nearly flat, and every objective spends half of a short training leaving that. Biases start uniform in
    ±1/√in. Events of any shape are flattened: (*batch, *event) -> (*batch,).

    Args:
        event_shape: the shape of one example.
        rng: the stream of the initial weights.
        conditional: whether the energy takes a noise level σ.
        inputs: the numbers that `features` gives.
        width: units in a hidden layer.
        depth: hidden layers.
        confinement: κ of a static energy.
        standardised: whether a static energy sees its input in units of the data's deviation.
    """

    mean: Tensor
    scale: Tensor
    frequencies: Tensor

    def __init__(
        self,
        event_shape: tuple[int, ...],
        rng: Rng,
        conditional: bool,
        *,
        inputs: int,
        width: int,
        depth: int,
        confinement: float,
        standardised: bool,
    ) -> None:
        super().__init__()
        self.batch_ndim, self.confinement, self.standardised = rng.batch_ndim, confinement, standardised
        sizes = [inputs, *[width] * depth, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            for target, rows, bound in ((self.weights, fan_in, 6), (self.biases, 1, 1)):
                target.append(self._uniform(rng, math.sqrt(bound / fan_in), rows, fan_out))
        if conditional or standardised:
            self.register_buffer("mean", torch.zeros(*rng.batch_shape(1), math.prod(event_shape)))
            self.register_buffer("scale", torch.ones(rng.batch_shape(1)))
        self.film = None
        if not conditional:
            return
        # near the Gaussian, from which every level is equally far
        self.weights[-1].data.mul_(0.1)
        # drawn last, so that the trunk's draws do not depend on it
        self.film = self._uniform(rng, 1 / math.sqrt(2 * FREQUENCIES), 2 * FREQUENCIES, 2 * depth * width)
        self.register_buffer("frequencies", 2 ** torch.linspace(-2, 2, FREQUENCIES))

    def _uniform(self, rng: Rng, bound: float, *shape: int) -> nn.Parameter:
        # batch_shape puts S in front for a stack
        rows, *rest = shape
        return nn.Parameter(bound * (2 * rng.uniform((*rng.batch_shape(rows), *rest)) - 1))

    @torch.no_grad()
    def calibrate(self, x_train: Tensor) -> None:
        """Sets μ to the mean of training data (n, *event), or (S, n, *event), and σ_d to their standard deviation.

        σ_d² is the mean over the dimensions. An energy that has neither stays as it is.

        Raises:
            UsageError: if the data do not vary.
        """
        if self.film is None and not self.standardised:
            return
        flat = x_train.flatten(self.batch_ndim)
        self.mean.copy_(flat.mean(-2, keepdim=True))
        self.scale.copy_((flat - self.mean).square().mean((-2, -1)).sqrt().unsqueeze(-1))
        if not bool((self.scale > 0).all()):
            raise UsageError("an energy in units of the data is calibrated on data that vary; these are all the same")

    def features(self, u: Tensor) -> Tensor:
        """φ: (*batch, d) -> (*batch, inputs); the identity here."""
        return u

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        flat = x.flatten(self.batch_ndim)
        if self.film is None:
            u = (flat - self.mean) / self.scale.unsqueeze(-1) if self.standardised else flat
            free = self._free(u)
            return free + 0.5 * self.confinement * u.square().sum(-1) if self.confinement else free
        sigma = condition[0].to(flat.dtype)
        variance = sigma.square() + self.scale.square()
        u = (flat - self.mean) * variance.rsqrt().unsqueeze(-1)
        gaussian = 0.5 * u.square().sum(-1) + 0.5 * u.shape[-1] * (2 * math.pi * variance).log()
        phase = sigma.log().unsqueeze(-1) * self.frequencies
        films = torch.cat([phase.sin(), phase.cos()], -1) @ self.film
        return gaussian - self.scale / sigma * self._free(u, films)

    def _free(self, u: Tensor, films: Tensor | None = None) -> Tensor:
        """G of φ(u): (*batch, d) -> (*batch,); films are a scale and a shift for each unit, layer by layer."""
        h = self.features(u)
        *hidden, (weight, bias) = zip(self.weights, self.biases, strict=True)
        halves = [] if films is None else films.chunk(2 * len(hidden), -1)
        for k, (w, b) in enumerate(hidden):
            h = h @ w + b
            h = nn.functional.silu(torch.addcmul(h + halves[2 * k], h, halves[2 * k + 1]) if halves else h)
        energy: Tensor = (h @ weight + bias).squeeze(-1)
        return energy
