"""Data whose density is known: an equal mixture of parts, with its draws, its score and its entropy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from bench.core.data_types import Data, Grid
from bench.core.derivatives import score
from bench.core.quadrature import evaluate, grid_points
from bench.core.rng import Rng
from bench.core.search_spaces import Integer

Count = Annotated[int, Integer(1, 10_000_000)]
Curve = Callable[[Tensor, Tensor], Tensor]
SPACING = 0.5  # between the nodes along a curve, in units of σ
CHUNK = 256  # points at once: with a few hundred nodes each they stay in the cache


@dataclass(frozen=True)
class Mixture:
    """p(x) = (1/M) Σₘ pₘ(x): parts of equal weight, each a mode that a model may miss.

    Attributes:
        log_parts: log pₘ(x) in nats, (n, d) -> (n, M), normalised and finite; it is given float64.
        draw: a point of each named part: (part (*batch,), rng) -> (*batch, d).
        centres: a point in the middle of each part, (M, d).
        finest: the length of the density's finest detail, in units of x, which quadrature has to resolve.
    """

    log_parts: Callable[[Tensor], Tensor]
    draw: Callable[[Tensor, Rng], Tensor]
    centres: Tensor
    finest: float


def noisy_curves(curve: Curve, parts: int, sigma: float) -> Mixture:
    """pₘ(x) = ∫₀¹ N(x; c(u, m), σ²I) du: a point at a uniform u on curve m, plus Gaussian noise.

    The integral is Fejér's rule at K nodes, K growing with the length of the curves over σ: log p is exact to 1e-4 at
    five times the data's radius and far better where data are.

    Args:
        curve: c, (u, m) of shapes that broadcast -> (*shape, 2), in u's floating type; |∂c/∂u| may grow like
            u^(-1/2) at the start, no faster.
        parts: M.
        sigma: σ, in units of x.
    """
    part = torch.arange(parts)
    knots = torch.linspace(0, 1, 1_025, dtype=torch.float64)
    speed = curve(knots[:, None], part).diff(dim=0).norm(dim=-1).amax(1) * (len(knots) - 1)
    middle = (knots[1:] + knots[:-1]) / 2
    # near u the nodes lie π√(u(1-u))/K apart; SPACING σ along the curve at most
    widest = float((torch.pi * (middle * (1 - middle)).sqrt() * speed).max())
    u, weights = _fejer(max(1, math.ceil(widest / (SPACING * sigma))))
    points, log_weights = curve(u[:, None], part).transpose(0, 1), weights.log()  # (M, K, 2), (K,)

    def log_parts(x: Tensor) -> Tensor:
        (x0, x1), (c0, c1) = x[:, None, None].unbind(-1), points.to(x).unbind(-1)
        exponents = log_weights.to(x) - ((x0 - c0).square() + (x1 - c1).square()) / (2 * sigma**2)
        return exponents.logsumexp(-1) - math.log(2 * math.pi * sigma**2)

    def draw(part: Tensor, rng: Rng) -> Tensor:
        return curve(rng.uniform(part.shape), part) + sigma * rng.normal((*part.shape, 2))

    return Mixture(log_parts, draw, curve(torch.tensor(0.5, dtype=torch.float64), part), sigma)


def noisy_points(centres: Tensor, sigma: float) -> Mixture:
    """pₘ(x) = N(x; cₘ, σ²I), with the centres (M, 2)."""

    def stand_still(u: Tensor, part: Tensor) -> Tensor:
        return centres.to(u)[torch.broadcast_tensors(u, part)[1]]

    return noisy_curves(stand_still, len(centres), sigma)


def exact_data(
    name: str, rng: Rng, sizes: tuple[int, int, int], mixture: Mixture, *, grid: Grid, local_scale: float
) -> Data:
    """The data set of a mixture: every example is drawn on its own, its part first, so none is sorted by mode.

    A mixture of a single part declares no modes. The test examples are drawn first and the training examples last:
    asking for more training data leaves the others as they are.

    Args:
        sizes: how many examples to train, validate and test on.
        grid: a box outside of which the law has a mass below 1e-6.
        local_scale: the standard deviation of the data in its narrowest local direction, in units of x.
    """
    parts = len(mixture.centres)

    # in float64 for either type: it is exact, and in float32 the many denormal exponentials take twice as long
    def log_density(x: Tensor) -> Tensor:
        return _by_chunks(lambda chunk: mixture.log_parts(chunk.double()).logsumexp(-1) - math.log(parts), x).to(x)

    def exact_score(x: Tensor) -> Tensor:
        return _by_chunks(lambda chunk: score(lambda y, *_: -log_density(y), chunk), x)

    def mode_of(x: Tensor) -> Tensor:
        return _by_chunks(lambda chunk: mixture.log_parts(chunk.double()).argmax(-1), x)

    def sample(n: int, rng: Rng) -> Tensor:
        return mixture.draw(rng.integers(parts, rng.batch_shape(n)), rng)

    test, valid, train = (sample(n, rng) for n in reversed(sizes))
    return Data(
        name,
        train,
        valid,
        test,
        local_scale=local_scale,
        log_density=log_density,
        score=exact_score,
        sample=sample,
        entropy=_entropy(log_density, grid, mixture.finest),
        grid=grid,
        modes=mixture.centres.to(train) if parts > 1 else None,
        mode_weights=torch.full((parts,), 1 / parts).to(train) if parts > 1 else None,
        mode_of=mode_of if parts > 1 else None,
    )


def _fejer(n: int) -> tuple[Tensor, Tensor]:
    """The nodes and the positive weights, both (n,), of Fejér's first rule for ∫₀¹ f(u) du; exact on polynomials
    of degree n - 1, and like Gauss's rule on waves, yet in closed form: Gauss's takes an eigenvalue problem.
    """
    angle = (torch.arange(n, dtype=torch.float64) + 0.5) * (math.pi / n)
    j = torch.arange(1, n // 2 + 1, dtype=torch.float64)
    weights = (1 - 2 * ((2 * angle[:, None] * j).cos() / (4 * j.square() - 1)).sum(1)) / n
    return (1 - angle.cos()) / 2, weights


def _by_chunks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x) for x of shape (*batch, d), with its graph if x has one."""
    values = torch.cat([function(chunk) for chunk in x.reshape(-1, x.shape[-1]).split(CHUNK)])
    return values.reshape(*x.shape[:-1], *values.shape[1:])


def _entropy(log_density: Callable[[Tensor], Tensor], grid: Grid, finest: float) -> float:
    """-∫ p log p over the box in nats, by the midpoint rule on cells of ¾ of the finest detail: exact to 1e-5."""
    side = max(high - low for low, high in zip(grid.low, grid.high, strict=True))
    n = math.ceil(side / (0.75 * finest))
    _, cell = grid_points(grid, n)
    log_p = evaluate(log_density, grid, n)
    return -float((log_p.exp() * log_p).sum()) * cell
