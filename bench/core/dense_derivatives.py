"""Derivatives of a fully connected network by its input, in closed form: formulas of ordinary operations.

With z_l = h_l W_l + b_l and h_{l+1} = silu(z_l), silu(z) = z s, s the logistic function of z,

    silu'(z) = s (1 + z - silu(z)),  silu''(z) = silu' + s - 2 s silu'.

The gradient goes back through the layers as in any network. A second derivative along v needs the tangents ż_l, which
go forward: vᵀ∇²G v = Σ_l g_{l+1} · silu''(z_l) ż_l², g_{l+1} = ∂G/∂h_{l+1}, and what the features add. Beside
autograd's graph of a gradient this saves the graph, and where a loss is differentiated, one of its backward passes.
Where no graph is kept, as in a chain, torch's fused silu' is used, which cannot be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


class Features:
    """φ(u) = u, and its derivatives.

    Attributes:
        value: φ(u), (*batch, inputs).
    """

    def __init__(self, u: Tensor) -> None:
        self.value = u

    def tangent(self, v: Tensor) -> Tensor:
        """(∇φ) v: (..., d) -> (..., inputs)."""
        return v

    def pullback(self, g: Tensor) -> Tensor:
        """(∇φ)ᵀ g: (*batch, inputs) -> (*batch, d)."""
        return g

    def pullback_tangent(self, g: Tensor, g_dot: Tensor, v: Tensor) -> Tensor:
        """The derivative of `pullback` along v, where g changes by `g_dot`."""
        return g_dot

    def quadratic(self, g: Tensor, v: Tensor) -> Tensor | float:
        """Σ g · vᵀ(∇²φ)v, (*batch,); 0 for a linear φ."""
        return 0.0


class FourierFeatures(Features):
    """φ(u) = [u, sin uW, cos uW].

    Args:
        u: (*batch, d).
        waves: W, (d, F), or (S, d, F) for a stack.
    """

    def __init__(self, u: Tensor, waves: Tensor) -> None:
        phase = u @ waves
        self.waves, self.count, self.dim = waves, waves.shape[-1], u.shape[-1]
        self.sin, self.cos = phase.sin(), phase.cos()
        super().__init__(torch.cat([u, self.sin, self.cos], -1))

    def _parts(self, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        linear, of_sin, of_cos = g.split([self.dim, self.count, self.count], -1)
        return linear, of_sin, of_cos

    def tangent(self, v: Tensor) -> Tensor:
        q = v @ self.waves
        return torch.cat([v, self.cos * q, -self.sin * q], -1)

    def pullback(self, g: Tensor) -> Tensor:
        linear, of_sin, of_cos = self._parts(g)
        return linear + (of_sin * self.cos - of_cos * self.sin) @ self.waves.mT

    def pullback_tangent(self, g: Tensor, g_dot: Tensor, v: Tensor) -> Tensor:
        _, of_sin, of_cos = self._parts(g)
        bent = (of_sin * self.sin + of_cos * self.cos) * (v @ self.waves)
        return self.pullback(g_dot) - bent @ self.waves.mT

    def quadratic(self, g: Tensor, v: Tensor) -> Tensor:
        _, of_sin, of_cos = self._parts(g)
        return -((of_sin * self.sin + of_cos * self.cos) * (v @ self.waves).square()).sum(-1)


@dataclass(frozen=True)
class _Layer:
    """A hidden layer at one input: its weights, z, and what FiLM scales it by, less 1."""

    weight: Tensor
    z: Tensor
    film: Tensor | None

    @cached_property
    def s(self) -> Tensor:
        """The logistic function of z."""
        return self.z.sigmoid()

    @cached_property
    def h(self) -> Tensor:
        """silu(z)."""
        return torch.nn.functional.silu(self.z)

    @cached_property
    def slope(self) -> Tensor:
        """silu'(z)."""
        return self.s * (1 + self.z - self.h)

    @cached_property
    def bend(self) -> Tensor:
        """silu''(z)."""
        return self.slope + self.s - 2 * self.s * self.slope

    def back(self, g: Tensor) -> Tensor:
        """From ∂G/∂h of the layer's output to that of its input."""
        graph = torch.is_grad_enabled()
        delta = g * self.slope if graph else torch.ops.aten.silu_backward(g.expand_as(self.z), self.z)
        return self.stretched(delta) @ self.weight.mT

    def stretched(self, z: Tensor) -> Tensor:
        return z if self.film is None else torch.addcmul(z, z, self.film)


class DensePass:
    """G(φ(u)) = w · h_L + b and its derivatives by u, at one u.

    Args:
        features: φ at u.
        weights, biases: of every layer, the last one w and b.
        films: FiLM's shift and scale of each hidden layer, or none.
    """

    def __init__(
        self,
        features: Features,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        films: Sequence[Tensor] = (),
    ) -> None:
        self.features, self._last, self._layers = features, weights[-1], list[_Layer]()
        h = features.value
        for k, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
            z = affine(h, weight, bias)
            if films:
                z = torch.addcmul(z + films[2 * k], z, films[2 * k + 1])
            self._layers.append(_Layer(weight, z, films[2 * k + 1] if films else None))
            h = self._layers[-1].h
        self._output, self._bias = h, biases[-1]

    @cached_property
    def value(self) -> Tensor:
        """G, (*batch,)."""
        return affine(self._output, self._last, self._bias).squeeze(-1)

    @cached_property
    def _gradients(self) -> list[Tensor]:
        """∂G/∂h_1, ..., ∂G/∂h_L, and in front of them ∂G/∂φ."""
        found = [self._last.mT]
        for layer in reversed(self._layers):
            found.insert(0, layer.back(found[0]))
        return found

    @property
    def gradient(self) -> Tensor:
        """∇G, (*batch, d)."""
        return self.features.pullback(self._gradients[0])

    def _tangents(self, v: Tensor) -> list[Tensor]:
        """ż_l along v."""
        t, found = self.features.tangent(v), list[Tensor]()
        for layer in self._layers:
            found.append(layer.stretched(t @ layer.weight))
            t = layer.slope * found[-1]
        return found

    def hessian_product(self, v: Tensor) -> Tensor:
        """∇²G v: (*batch, d) -> (*batch, d)."""
        change: Tensor | None = None
        for layer, g, z_dot in reversed(list(zip(self._layers, self._gradients[1:], self._tangents(v), strict=True))):
            delta = g * layer.bend * z_dot
            if change is not None:
                delta = delta + change * layer.slope
            change = layer.stretched(delta) @ layer.weight.mT
        assert change is not None
        return self.features.pullback_tangent(self._gradients[0], change, v)

    def laplacian(self, dim: int) -> Tensor:
        """ΔG, (*batch,), the tangents of all d dimensions in one pass."""
        batch = self.value.shape
        eye = torch.eye(dim, dtype=self.value.dtype, device=self.value.device)
        v = eye.reshape(dim, *[1] * len(batch), dim).expand(dim, *batch, dim)
        total = self.features.quadratic(self._gradients[0], v)
        for layer, g, z_dot in zip(self._layers, self._gradients[1:], self._tangents(v), strict=True):
            total = total + (g * layer.bend * z_dot.square()).sum(-1)
        assert isinstance(total, Tensor)
        return total.sum(0)


def affine(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """h W + b in one operation: (n, in) or (S, n, in), with bias (1, out) or (S, 1, out)."""
    return torch.addmm(bias, h, weight) if h.ndim == 2 else torch.baddbmm(bias, h, weight)
