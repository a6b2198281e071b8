"""What fully connected energies share: their trunk, its conditioning, and the Gaussian that they start from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from bench.common.errors import UsageError
from bench.common.run_spec import Conditional
from bench.core.dense_derivatives import DensePass, Features
from bench.core.rng import Rng

FREQUENCIES = 8  # of ln σ, geometric from 1/4 to 4


@dataclass(frozen=True)
class _Place:
    """An input in the network's own units: E = `constant` + ½ `pull` ‖u‖² + `share` · G(φ(u)).

    Attributes:
        u: (*batch, d).
        scale: ∂u/∂x, a number, (..., 1), or (*batch, d) where each coordinate has a noise level of its own.
        films: FiLM's shift and scale of each hidden layer, (*batch, width) each; none for a static energy.
        constant: what does not depend on x, a number or (*batch,).
        pull: κ, or 1 of the conditional form.
        share: what G is multiplied by, a number or (*batch,).
    """

    u: Tensor
    scale: float | Tensor
    films: Sequence[Tensor]
    constant: float | Tensor
    pull: float
    share: float | Tensor

    def energy(self, free: Tensor) -> Tensor:
        """E from G, both (*batch,)."""
        energy = free if isinstance(self.share, float) else self.share * free
        if self.pull:
            energy = energy + 0.5 * self.pull * self.u.square().sum(-1)
        return energy if isinstance(self.constant, float) else energy + self.constant

    def gradient(self, free: Tensor) -> Tensor:
        """∂E/∂x from ∂G/∂u, both (*batch, d)."""
        found = free if isinstance(self.share, float) else self.share.unsqueeze(-1) * free
        if self.pull:
            found = found + self.pull * self.u
        return found if isinstance(self.scale, float) else self.scale * found


class DenseEnergy(nn.Module):
    r"""Static: E(x) = (κ/2) ‖u‖² + G(φ(u)), u = x, or (x - μ)/σ_d if `standardised`. Conditional: E(x, σ) below.

    E(x, σ) = ‖u‖²/2 + (d/2) ln 2πv - (σ_d/σ) G(φ(u), σ), u = (x - μ)/√v, v = σ² + σ_d². At G = 0 this is the energy of
    data N(μ, σ_d²I) under noise σ. With it one Tweedie step is μ + c_skip (x - μ) + c_out ∇G with the factors of Karras
    et al. 2022, so that ∇G regresses a target of unit variance at every σ. Each hidden layer of G is scaled and
    shifted, one number a unit, by a linear map of sines and cosines of ln σ (FiLM, Perez et al. 2018). The trunk starts
    with the same weights either way, but for the last layer's, here a tenth. μ and σ_d are 0 and 1 until `calibrate`.

    With a level σᵢ a coordinate, conditional="axes", each has a vᵢ of its own, FiLM maps the ln σᵢ of all, and σ before
    G is their geometric mean; one level an example, σ of shape (*batch,), is told as that of all coordinates.

    Weights are (in, out) for one seed and (S, in, out) for a stack, so both run the same code. They start uniform in
    ±√(6/in), which keeps the size of the signal from layer to layer (He et al. 2015); under torch's own ±1/√in the
    energy starts nearly flat, and every objective spends half of a short training leaving that. Biases start uniform in
    ±1/√in. Events of any shape are flattened: (*batch, *event) -> (*batch,).

    Args:
        event_shape: the shape of one example.
        rng: the stream of the initial weights.
        conditional: whether the energy takes a noise level σ, or "axes".
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
        conditional: Conditional,
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
        dim = math.prod(event_shape)
        if conditional or standardised:
            self.register_buffer("mean", torch.zeros(*rng.batch_shape(1), dim))
            self.register_buffer("scale", torch.ones(rng.batch_shape(1)))
        self.film = None
        if not conditional:
            return
        # near the Gaussian, from which every level is equally far
        self.weights[-1].data.mul_(0.1)
        # drawn last, so that the trunk's draws do not depend on it
        self.levels = dim if conditional == "axes" else 1
        waves = 2 * FREQUENCIES * self.levels
        self.film = self._uniform(rng, 1 / math.sqrt(waves), waves, 2 * depth * width)
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

    def features(self, u: Tensor) -> Features:
        """φ at u, (*batch, d) -> (*batch, inputs), and its derivatives; the identity here."""
        return Features(u)

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        at = self._place(x, *condition)
        return at.energy(self._pass(at).value)

    def closed_form_score(self, x: Tensor, *condition: Tensor) -> Tensor:
        """-∇E in closed form, of the shape of x."""
        at = self._place(x, *condition)
        return self._score(at, self._pass(at), x)

    def energy_and_score(self, x: Tensor, *condition: Tensor) -> tuple[Tensor, Tensor]:
        """(E, -∇E) in closed form, (*batch,) and the shape of x; with a graph to the weights where one is kept."""
        at = self._place(x, *condition)
        passed = self._pass(at)
        return at.energy(passed.value), self._score(at, passed, x)

    def score_and_hessian_product(self, x: Tensor, direction: Tensor, *condition: Tensor) -> tuple[Tensor, Tensor]:
        """(-∇E, ∇²E v) in closed form, both of the shape of x."""
        at = self._place(x, *condition)
        passed = self._pass(at)
        v = at.scale * direction.flatten(self.batch_ndim)
        product = at.scale * (at.pull * v + _per_row(at.share) * passed.hessian_product(v))
        return self._score(at, passed, x), product.reshape(x.shape)

    def score_and_laplacian(self, x: Tensor, *condition: Tensor) -> tuple[Tensor, Tensor]:
        """(-∇E, ΔE) in closed form, the shape of x and (*batch,); all second derivatives in one pass."""
        at = self._place(x, *condition)
        passed = self._pass(at)
        dim = at.u.shape[-1]
        if isinstance(at.scale, Tensor) and at.scale.shape == at.u.shape:  # no common factor: ∂²G/∂uᵢ² one by one
            axes = torch.eye(dim, dtype=at.u.dtype, device=at.u.device)
            curves = torch.stack([passed.hessian_product(e.expand_as(at.u))[..., i] for i, e in enumerate(axes)], -1)
            return self._score(at, passed, x), (at.scale**2 * (at.pull + _per_row(at.share) * curves)).sum(-1)
        scale = at.scale.squeeze(-1) if isinstance(at.scale, Tensor) else at.scale
        return self._score(at, passed, x), scale**2 * (at.pull * dim + at.share * passed.laplacian(dim))

    def _score(self, at: _Place, passed: DensePass, x: Tensor) -> Tensor:
        return -at.gradient(passed.gradient).reshape(x.shape)

    def _place(self, x: Tensor, *condition: Tensor) -> _Place:
        flat = x.flatten(self.batch_ndim)
        if self.film is None:
            scale = 1 / self.scale.unsqueeze(-1) if self.standardised else 1.0
            u = (flat - self.mean) * scale if self.standardised else flat
            return _Place(u, scale, (), 0.0, self.confinement, 1.0)
        sigma = condition[0].to(flat.dtype)
        if sigma.ndim > self.batch_ndim:
            return self._place_by_axes(flat, sigma.flatten(self.batch_ndim))
        variance = sigma.square() + self.scale.square()
        scale = variance.rsqrt().unsqueeze(-1)
        u = (flat - self.mean) * scale
        normaliser = 0.5 * u.shape[-1] * (2 * math.pi * variance).log()
        levels = sigma.log().unsqueeze(-1)
        if self.levels > 1:
            levels = levels.expand(*sigma.shape, self.levels).unsqueeze(-1)
        return _Place(u, scale, self._films(levels), normaliser, 1.0, -self.scale / sigma)

    def _place_by_axes(self, flat: Tensor, sigma: Tensor) -> _Place:
        """With a noise level for each coordinate, both (*batch, d)."""
        variance = sigma.square() + self.scale.square().unsqueeze(-1)
        scale, levels = variance.rsqrt(), sigma.log()
        normaliser = 0.5 * (2 * math.pi * variance).log().sum(-1)
        share = -self.scale / levels.mean(-1).exp()
        films = self._films(levels.unsqueeze(-1))
        return _Place((flat - self.mean) * scale, scale, films, normaliser, 1.0, share)

    def _films(self, levels: Tensor) -> Sequence[Tensor]:
        """FiLM's shift and scale of each hidden layer at ln σ, (*batch, 1) or (*batch, d, 1)."""
        phase = (levels * self.frequencies).flatten(self.batch_ndim)
        assert self.film is not None
        films = torch.cat([phase.sin(), phase.cos()], -1) @ self.film
        return films.chunk(2 * (len(self.weights) - 1), -1)

    def _pass(self, at: _Place) -> DensePass:
        return DensePass(self.features(at.u), list(self.weights), list(self.biases), at.films)


def _per_row(values: float | Tensor) -> float | Tensor:
    return values.unsqueeze(-1) if isinstance(values, Tensor) else values
