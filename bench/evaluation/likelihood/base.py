"""The broad Gaussian that annealing begins in, and an energy in the coordinates in which that Gaussian is round."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.core.derivatives import Energy, energy_and_score
from bench.core.rng import Rng

LEAST_SCALE = 1.25  # a base as narrow as the data has no particle where a model is a little wider
FEW = 10  # training points a dimension below which their covariance is drawn towards its diagonal
RIDGE = 1e-6  # of the mean variance: a coordinate that never changes has no variance of its own
REACH = 4.0  # of the standard deviations of ‖u‖, which are s/√2: a base draw in 30,000 lies further out
CHUNK = 2**16  # coordinates a call of the energy


class BroadBase:
    r"""n(u) = N(0, s²I) in u = L⁻¹(x - m), with m and LLᵀ the mean and covariance of the training data.

    s is such that a typical draw of the base lies as far out as the farthest training point, s = max ‖u‖ / √d, and
    1.25 at least: the box that holds the data is covered in every direction.

    Args:
        x_train: training data (n, *event); two at least.
        widen: a factor of s.
    """

    def __init__(self, x_train: Tensor, *, widen: float = 1.0) -> None:
        flat = x_train.flatten(1).double()
        n, dim = flat.shape
        mean = flat.mean(0)
        covariance = (flat - mean).T @ (flat - mean) / n
        variances = covariance.diagonal()
        share = min(1.0, dim / n) if n < FEW * dim else 0.0
        covariance = (1 - share) * covariance + share * variances.diag()
        ridge = RIDGE * variances.mean().clamp(min=torch.finfo(torch.float32).tiny)
        factor = torch.linalg.cholesky(covariance + ridge * torch.eye(dim, dtype=flat.dtype, device=flat.device))
        self.event, self.dim = x_train.shape[1:], dim
        self.mean, self.factor = mean.to(x_train), factor.to(x_train)
        self.log_det = float(factor.diagonal().log().sum())
        self.white = torch.linalg.solve_triangular(
            factor, torch.eye(dim, dtype=flat.dtype, device=flat.device), upper=False
        )
        farthest = float(self.coordinates(x_train).norm(dim=1).max())
        self.scale = widen * max(LEAST_SCALE, farthest / math.sqrt(dim))

    def coordinates(self, x: Tensor) -> Tensor:
        """u of x, (n, *event) -> (n, d)."""
        flat = x.flatten(1)
        u: Tensor = (flat - self.mean) @ self.white.to(flat).T
        return u

    def points(self, u: Tensor) -> Tensor:
        """x of u, (n, d) -> (n, *event)."""
        x: Tensor = (self.mean + u @ self.factor.T).reshape(-1, *self.event)
        return x

    def draw(self, n: int, rng: Rng) -> Tensor:
        """u ~ n, (n, d)."""
        return self.scale * rng.normal((n, self.dim), self.mean.dtype).to(self.mean.device)

    def energy(self, u: Tensor) -> Tensor:
        """-log n(u) in nats, (n, d) -> (n,), float64."""
        square = u.double().square().sum(-1) / (2 * self.scale**2)
        return square + 0.5 * self.dim * math.log(2 * math.pi * self.scale**2)

    def outside(self, u: Tensor) -> float:
        """The share of points (n, d) that lie farther out than all but one in 30,000 draws of the base."""
        reach = self.scale * (math.sqrt(self.dim) + REACH / math.sqrt(2))
        return float((~(u.norm(dim=-1) <= reach)).double().mean())


class RoundEnergy:
    """U(u) = E(m + Lu) - log det L, so that ∫ exp(-U) du = ∫ exp(-E) dx; counts the points that it is asked for."""

    def __init__(self, energy: Energy, base: BroadBase) -> None:
        self.energy, self.base = energy, base
        self.evaluations = 0

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """(U(u), -∇U(u)), (n, d) -> (n,) in float64 and (n, d)."""
        self.evaluations += len(u)
        size = max(64, CHUNK // self.base.dim)
        parts = [energy_and_score(self.energy, self.base.points(part)) for part in u.split(size)]
        energies = torch.cat([e for e, _ in parts]).double() - self.base.log_det
        return energies, torch.cat([s for _, s in parts]).flatten(1) @ self.base.factor
