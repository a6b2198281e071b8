"""Mixtures of Gaussians with all that is known of them, and metrics as tests ask for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.api import Data, Energy, Estimate, Grid, Rng
from bench.core.quadrature import CachedFunction
from bench.plugins import builders, registry

QUARTET = [[1.5, 1.5], [-1.5, 1.5], [-1.5, -1.5], [1.5, -1.5]]


class Mixture:
    """Σ wₘ N(cₘ, σ²I), from scratch: no code of the project stands between a test and its truth."""

    def __init__(self, centres: Sequence[Sequence[float]], sd: float, weights: Sequence[float] | None = None) -> None:
        self.centres = torch.tensor(centres, dtype=torch.float64)
        self.sd = sd
        self.weights = torch.tensor(weights or [1 / len(centres)] * len(centres), dtype=torch.float64)

    def log_density(self, x: Tensor) -> Tensor:
        square = (x[..., None, :] - self.centres.to(x.dtype)).square().sum(-1)
        normaliser = x.shape[-1] / 2 * math.log(2 * math.pi * self.sd**2)
        return (self.weights.log().to(x.dtype) - square / (2 * self.sd**2)).logsumexp(-1) - normaliser

    def energy(self, x: Tensor, *sigma: Tensor) -> Tensor:
        return -self.log_density(x)

    def score(self, x: Tensor) -> Tensor:
        difference = self.centres.to(x.dtype) - x[..., None, :]
        share = (self.weights.log().to(x.dtype) - difference.square().sum(-1) / (2 * self.sd**2)).softmax(-1)
        return (share[..., None] * difference).sum(-2) / self.sd**2

    def mode_of(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.centres.to(x.dtype)).argmin(-1)

    def sample(self, n: int, rng: Rng) -> Tensor:
        centres = self.centres[rng.choice(self.weights, (n,))]
        return centres + self.sd * rng.normal(centres.shape, torch.float64)


def data_of(law: Mixture, seed: int = 0, n: int = 2000, dtype: torch.dtype = torch.float64, half: float = 4.0) -> Data:
    dimension = law.centres.shape[1]
    rng = Rng(seed, "data")
    train, valid, test = (law.sample(n, rng).to(dtype) for _ in range(3))
    return Data(
        "synthetic",
        train,
        valid,
        test,
        log_density=law.log_density,
        score=law.score,
        sample=law.sample,
        grid=Grid((-half,) * dimension, (half,) * dimension) if dimension <= 2 else None,
        modes=law.centres,
        mode_weights=law.weights,
        mode_of=law.mode_of,
    )


def measure(name: str, energy: Energy, samples: Tensor, data: Data, seed: int = 0) -> Estimate:
    return builders.metric(name)(energy, samples, data, Rng(seed, "eval"))


def cheap(name: str) -> str:
    """The metric, with few particles where it has any: for what holds at any number of them."""
    few = {"particles": 128, "temperatures": 60}
    own = registry.find("metrics", name).parameters
    given = ",".join(f"{key}={value}" for key, value in few.items() if key in own)
    return f"{name}[{given}]" if given else name


def value_of(estimate: Estimate) -> float:
    assert estimate.value is not None, estimate.reason
    return estimate.value


def exact(name: str, model: Mixture, data: Data) -> float:
    estimate = measure(name, model.energy, data.train, data)
    assert estimate.certified, estimate.reason
    return value_of(estimate)


def repeated(name: str, truth: Mixture, model: Mixture, n: int, repeats: int) -> tuple[Tensor, Tensor]:
    """The values and the standard errors over fresh test sets and fresh samples."""
    energy = CachedFunction(model.energy)
    found = [measure(name, energy, model.sample(n, Rng(r, "model")), data_of(truth, r, n), r) for r in range(repeats)]
    stderrs = [e.stderr for e in found if e.stderr is not None]
    return torch.tensor([value_of(e) for e in found]).double(), torch.tensor(stderrs).double()


def distance_from(truth: float, values: Tensor) -> float:
    """How many standard errors of their own mean the values are off."""
    return (float(values.mean()) - truth) / (float(values.std()) / math.sqrt(len(values)))


QUARTET_LAW = Mixture(QUARTET, 0.3)
NORMAL = Mixture([[0.0, 0.0]], 1.0)
