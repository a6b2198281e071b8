"""Laws of any dimension whose density is known: a few coordinates with modes, the others normal, all turned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.data_types import Data, Grid
from bench.core.derivatives import score
from bench.core.quadrature import evaluate, grid_points
from bench.core.rng import Rng

WELL_HALF, WELL_NODES = 4.0, 40_001
CELLS = 512  # a side, for the entropy of a mixture of the plane


@dataclass(frozen=True)
class Core:
    """The law of the first k coordinates.

    Attributes:
        log_density: y (..., k) -> (...,), normalised, in nats; it is given float64.
        draw: (batch shape, rng) -> (*batch, k).
        entropy: in nats.
        modes, mode_weights: centres (M, k) and the probabilities (M,) of the regions that `mode_of` tells apart.
        mode_of: y (..., k) -> (...,).
        narrowest: the least standard deviation in any direction, locally.
    """

    log_density: Callable[[Tensor], Tensor]
    draw: Callable[[tuple[int, ...], Rng], Tensor]
    entropy: float
    modes: Tensor
    mode_weights: Tensor
    mode_of: Callable[[Tensor], Tensor]
    narrowest: float


def planar_mixture(centres: Sequence[Sequence[float]], weights: Sequence[float], spreads: Sequence[float]) -> Core:
    """Σₘ wₘ N(cₘ, sₘ²I₂); a point belongs to the part that is likeliest to have drawn it.

    Entropy and the weights of the regions by the midpoint rule on a box that holds ten standard deviations.
    """
    places = torch.tensor(centres, dtype=torch.float64)
    shares, widths = (torch.tensor(v, dtype=torch.float64) for v in (weights, spreads))

    def log_parts(y: Tensor) -> Tensor:
        square = (y[..., None, :] - places.to(y.device)).square().sum(-1)
        return (shares.log() - 2 * widths.log() - math.log(2 * math.pi)).to(y) - square / (2 * widths.square()).to(y)

    def log_density(y: Tensor) -> Tensor:
        return log_parts(y).logsumexp(-1)

    def mode_of(y: Tensor) -> Tensor:
        return log_parts(y).argmax(-1)

    def draw(batch: tuple[int, ...], rng: Rng) -> Tensor:
        part = rng.choice(shares, batch)
        return places.float()[part] + widths.float()[part][..., None] * rng.normal((*batch, 2))

    half = float(places.abs().max() + 10 * widths.max())
    grid = Grid((-half, -half), (half, half))
    points, cell = grid_points(grid, CELLS)
    log_p = evaluate(log_density, grid, CELLS)
    mass = log_p.exp() * cell
    regions = torch.zeros(len(places), dtype=torch.float64).index_add_(0, mode_of(points), mass)
    return Core(log_density, draw, -float((mass * log_p).sum()), places, regions, mode_of, float(widths.min()))


def wells(count: int, *, depth: float, tilt: float) -> Core:
    """p(y) = Πᵢ exp(-a (yᵢ² - 1)² - b yᵢ) / Z₁, a = `depth`, b = `tilt`: 2ᵏ modes; log Z₁ by quadrature of one axis.

    Draws are by the inverse of the distribution function, tabulated on 40,001 nodes and interpolated.
    """
    axis = torch.linspace(-WELL_HALF, WELL_HALF, WELL_NODES, dtype=torch.float64)
    cell = 2 * WELL_HALF / (WELL_NODES - 1)

    def energy(y: Tensor) -> Tensor:
        return depth * (y.square() - 1).square() + tilt * y

    log_z = float((-energy(axis)).logsumexp(0)) + math.log(cell)
    mass = (-energy(axis) - log_z).exp() * cell
    entropy = float((mass * (energy(axis) + log_z)).sum())
    # the distribution function at the upper edge of each node's cell
    steps, edges = mass.cumsum(0), axis + cell / 2
    top = axis[1:-1][(energy(axis)[1:-1] > energy(axis)[:-2]) & (energy(axis)[1:-1] >= energy(axis)[2:])]
    split = float(top[top.abs().argmin()])
    bottoms = [float(part[energy(part).argmin()]) for part in (axis[axis < split], axis[axis > split])]
    left = float(mass[axis < split].sum())
    signs = torch.cartesian_prod(*[torch.arange(2)] * count).reshape(-1, count)
    powers = 2 ** torch.arange(count - 1, -1, -1)

    def draw(batch: tuple[int, ...], rng: Rng) -> Tensor:
        u = rng.uniform((*batch, count), torch.float64)
        index = torch.searchsorted(steps, u).clamp(1, WELL_NODES - 1)
        share = (u - steps[index - 1]) / (steps[index] - steps[index - 1])
        return (edges[index - 1] + share.clamp(0, 1) * cell).float()

    return Core(
        lambda y: -energy(y).sum(-1) - count * log_z,
        draw,
        count * entropy,
        torch.tensor(bottoms, dtype=torch.float64)[signs],
        torch.tensor([left, 1 - left], dtype=torch.float64)[signs].prod(-1),
        lambda y: ((y > split) * powers.to(y.device)).sum(-1),
        # the curvature at a bottom is 8a, a little less at the shallower one
        1 / math.sqrt(8 * depth),
    )


def embedded_law(
    name: str, rng: Rng, sizes: tuple[int, int, int], core: Core, spreads: Sequence[float], *, half: float
) -> Data:
    """x = H (y, z): y of the core, zᵢ ~ N(0, sᵢ²) for each of `spreads`, H a reflection that mixes all coordinates.

    In two dimensions nothing is turned, and there is a grid, the box [-half, half]². The test examples are drawn first:
    asking for more training data leaves the others as they are.

    Args:
        sizes: how many examples to train, validate and test on.
        half: half a side of that box, outside of which the law has a mass below 1e-6.
    """
    k, others = core.modes.shape[1], torch.tensor(spreads, dtype=torch.float64)
    dim = k + len(others)
    direction = torch.arange(1, dim + 1, dtype=torch.float64).sqrt()
    turn = torch.eye(dim, dtype=torch.float64)
    if dim > 2:
        turn = turn - 2 * torch.outer(direction, direction) / direction.square().sum()

    def turned(x: Tensor) -> Tensor:
        # a reflection is its own inverse
        return x.double() @ turn.to(x.device) if dim > 2 else x.double()

    def log_density(x: Tensor) -> Tensor:
        y = turned(x)
        log_p = core.log_density(y[..., :k])
        if len(others):
            scaled = y[..., k:] / others.to(x.device)
            log_p = log_p - 0.5 * scaled.square().sum(-1) - normaliser
        return log_p.to(x)

    normaliser = float(others.log().sum()) + 0.5 * len(others) * math.log(2 * math.pi)

    def sample(n: int, rng: Rng) -> Tensor:
        batch = rng.batch_shape(n)
        y = torch.cat([core.draw(batch, rng), rng.normal((*batch, len(others))) * others.float()], -1)
        return turned(y).float()

    modes = torch.cat([core.modes, torch.zeros(len(core.modes), len(others), dtype=torch.float64)], 1)
    test, valid, train = (sample(n, rng) for n in reversed(sizes))
    return Data(
        name,
        train,
        valid,
        test,
        local_scale=min([core.narrowest, *spreads]),
        log_density=log_density,
        score=lambda x: score(lambda y: -log_density(y), x),
        sample=sample,
        entropy=core.entropy + normaliser + 0.5 * len(others),
        grid=Grid((-half, -half), (half, half)) if dim == 2 else None,
        modes=turned(modes).to(train),
        mode_weights=core.mode_weights.to(train),
        mode_of=lambda x: core.mode_of(turned(x)[..., :k]),
    )
