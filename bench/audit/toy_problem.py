"""A bed for gradients: a law of one dimension, energies with several non-linear parameters, and exact expectations.

Everything is in float64, and every expectation is an integral or can be made one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.derivatives import Energy
from bench.core.rng import Rng

F64 = torch.float64
SIDE = 1_600
HALF = 8.0
NODES = (torch.arange(SIDE, dtype=F64) + 0.5) * (2 * HALF / SIDE) - HALF
CELL = 2 * HALF / SIDE
STRIDE = 5  # of the nodes at which data stand while noises are integrated: a smooth law needs no more
MAX_AXES = 2  # integrated at once beside the data
NODES_AN_AXIS = 40
Model = Callable[[Tensor, Tensor, Tensor | float], Tensor]
"""(x (*batch,), θ (..., P), smoothing variance) -> energies (*batch,); θ without its last axis broadcasts against x."""


@dataclass(frozen=True)
class Law:
    """Σₖ wₖ N(mₖ, sₖ²), two parts: its density, its draws, and itself as a point of the family `mixture`."""

    centres: tuple[float, float]
    deviations: tuple[float, float]
    weights: tuple[float, float]

    @property
    def truth(self) -> Tensor:
        """θ at which `mixture` is the energy of this law, (8,)."""
        odds = math.log(self.weights[0] / self.weights[1])
        return torch.tensor([odds, *self.centres, *map(math.log, self.deviations), 0.0, 0.0, 0.0], dtype=F64)

    def log_density(self, x: Tensor, variance: Tensor | float = 0.0) -> Tensor:
        """log density, in nats, of the law convolved with N(0, variance)."""
        return -mixture(x, self.truth.to(x.device), variance)

    def draw(self, n: int, rng: Rng, *, even: bool = False) -> Tensor:
        """n points a seed, (S, n); `even` spreads them over the quantiles: the same mean of anything, with less noise.

        Half of the even points are the other half again, for `Paired` noise.
        """
        count = n // 2 if even else n
        u = rng.uniform((len(rng.seeds), count), F64)
        if even:
            u = (torch.arange(count, dtype=F64) + u) / count
        first = u < self.weights[0]
        share = torch.where(first, u / self.weights[0], (u - self.weights[0]) / self.weights[1])
        normal = torch.special.ndtri(share.clamp(1e-15, 1 - 1e-15))
        (m, other_m), (s, other_s) = self.centres, self.deviations
        x = torch.where(first, m + s * normal, other_m + other_s * normal)
        return torch.cat([x, x], -1) if even else x


NEAR = Law((-1.3, 1.0), (0.55, 0.4), (0.6, 0.4))
START = torch.tensor([-0.6, -0.8, 1.5, math.log(0.8), math.log(0.7), 0.3, -0.25, 0.3], dtype=F64)
"""A bad θ of `mixture` for `NEAR`: weights exchanged, modes displaced, too wide, and tilted."""


def mixture(x: Tensor, theta: Tensor, variance: Tensor | float = 0.0) -> Tensor:
    """-log Σₖ wₖ N(x; mₖ, sₖ² + variance) + τ₁ sin x + τ₂ cos 2x + τ₃ sin²x cos x.

    θ = (log w₁/w₂, m₁, m₂, log s₁, log s₂, τ₁, τ₂, τ₃). The tilts vanish at the truth; no symmetry hides them.
    """
    odds, m1, m2, log_s1, log_s2, t1, t2, t3 = theta.unbind(-1)

    def part(log_weight: Tensor, m: Tensor, log_s: Tensor) -> Tensor:
        v = (2 * log_s).exp() + variance
        return log_weight - 0.5 * ((x - m).square() / v + (2 * math.pi * v).log())

    logsigmoid = torch.nn.functional.logsigmoid
    log_law = torch.logaddexp(part(logsigmoid(odds), m1, log_s1), part(logsigmoid(-odds), m2, log_s2))
    sine, cosine = x.sin(), x.cos()
    # cos 2x = 1 - 2 sin²x
    return t1 * sine + t2 * (1 - 2 * sine.square()) + t3 * sine.square() * cosine - log_law


WELLS = torch.tensor([0.9, 0.7, 1.3, 0.4], dtype=F64)
"""θ of `wells`."""


def wells(x: Tensor, theta: Tensor, variance: Tensor | float = 0.0) -> Tensor:
    """½(ax)² + eᵇ sin(cx + d) + cos(3cx)/10: two wells of different depth; no parameter enters linearly alone."""
    a, b, c, d = theta.unbind(-1)
    return 0.5 * (a * x).square() + b.exp() * torch.sin(c * x + d) + 0.1 * torch.cos(3 * c * x)


def as_energy(model: Model, theta: Tensor, variance: float = 0.0) -> Energy:
    """The model as objectives call it: x (*batch, 1), and sigma (*batch,) or (*batch, 1) if it is told the noise level.

    A stack of seeds takes θ of shape (S, P), so that each seed has a gradient of its own.
    """
    at = theta.unsqueeze(-2) if theta.ndim == 2 else theta

    def energy(x: Tensor, *sigma: Tensor) -> Tensor:
        return model(x.squeeze(-1), at, sigma[0].reshape(x.shape[:-1]).square() if sigma else variance)

    return energy


def hermite(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights for expectations over N(0, 1), by Golub & Welsch."""
    beta = torch.arange(1, count, dtype=F64).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(beta, 1) + torch.diag(beta, -1))
    return values, vectors[0].square()


class NotIntegrableError(Exception):
    """An objective draws in a way that is no small product of normal numbers and signs."""


class _Axes(Rng):
    """Notes what an objective draws for each example: normal numbers and signs, nothing else."""

    def __init__(self) -> None:
        super().__init__(0)
        self.kinds: list[str] = []

    def normal_like(self, x: Tensor) -> Tensor:
        self.kinds.append("normal")
        return super().normal_like(x)

    def rademacher_like(self, x: Tensor) -> Tensor:
        self.kinds.append("sign")
        return torch.ones_like(x)

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        if tuple(shape) != (4, 1):
            raise NotIntegrableError
        return super().normal(shape, dtype)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        raise NotIntegrableError

    def integers(self, high: int, shape: Sequence[int]) -> Tensor:
        raise NotIntegrableError

    def distinct(self, high: int, shape: Sequence[int]) -> Tensor:
        raise NotIntegrableError


class ReplayRng(Rng):
    """Gives the noises that it was given, in turn."""

    def __init__(self, noises: Sequence[Tensor]) -> None:
        super().__init__(0)
        self.noises = list(noises)

    def normal_like(self, x: Tensor) -> Tensor:
        return self.noises.pop(0).reshape(x.shape)

    def rademacher_like(self, x: Tensor) -> Tensor:
        return self.noises.pop(0).reshape(x.shape)


class AntitheticRng(Rng):
    """A stack whose second half of every batch sees the first half's numbers again, normal ones with the other sign.

    Each example still sees the right law, so no expectation changes; what is odd in the noise cancels in the mean.
    """

    def _halved(self, shape: Sequence[int]) -> bool:
        return len(shape) > 1 and shape[1] % 2 == 0

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        if not self._halved(shape):
            return super().normal(shape, dtype)
        half = super().normal((shape[0], shape[1] // 2, *shape[2:]), dtype)
        return torch.cat([half, -half], 1)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        if not self._halved(shape):
            return super().uniform(shape, dtype)
        return torch.cat([super().uniform((shape[0], shape[1] // 2, *shape[2:]), dtype)] * 2, 1)

    def integers(self, high: int, shape: Sequence[int]) -> Tensor:
        if not self._halved(shape):
            return super().integers(high, shape)
        return torch.cat([super().integers(high, (shape[0], shape[1] // 2, *shape[2:]))] * 2, 1)


Loss = Callable[[Energy, Tensor, Rng], Tensor]


def axes(loss: Loss, energy: Energy) -> list[str] | None:
    """What an example draws, "normal" or "sign" for each number; None if its expectation is not to be integrated."""
    rng = _Axes()
    try:
        loss(energy, NODES[:: SIDE // 4, None][:4], rng)
    except NotIntegrableError:
        return None
    return rng.kinds if len(rng.kinds) <= MAX_AXES else None


def integrated_gradient(
    loss: Loss,
    model: Model,
    theta: Tensor,
    law: Law,
    kinds: Sequence[str],
    *,
    variance: float = 0.0,
    count: int = NODES_AN_AXIS,
) -> Tensor:
    """E[∇θ loss], (P,), with the data and what each example draws at the nodes of quadrature rules.

    Args:
        loss: draws `kinds` for each example, as `axes` finds it.
        variance: the smoothing of a static model.
        count: nodes of each normal axis.
    """
    rules = {"normal": hermite(count), "sign": (torch.tensor([-1.0, 1.0], dtype=F64), torch.full((2,), 0.5, dtype=F64))}
    x = NODES[::STRIDE]
    grids = torch.meshgrid(x, *[rules[kind][0] for kind in kinds], indexing="ij")
    mass = [STRIDE * CELL * law.log_density(x).exp(), *[rules[kind][1] for kind in kinds]]
    weights = torch.stack(torch.meshgrid(*mass, indexing="ij")).prod(0).flatten()
    at = theta.detach().clone().requires_grad_()
    rng = ReplayRng([grid.reshape(-1, 1) for grid in grids[1:]])
    total = (weights * loss(as_energy(model, at, variance), grids[0].reshape(-1, 1), rng)).sum()
    return torch.autograd.grad(total, at)[0]
