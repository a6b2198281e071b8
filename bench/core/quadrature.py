"""Exact integrals in one and two dimensions, by the midpoint rule on a box.

The midpoint rule converges faster than any power of the cell for a smooth integrand that vanishes at the box's edge.
Every integral is taken on two grids, and the numerical error that is stated is the difference of the two. What a model
puts outside of the box is integrated over three times the box, on coarser grids.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.core.data_types import Data, Grid
from bench.core.derivatives import CLOSED_FORMS, Energy
from bench.core.rng import Rng

GRIDS = (256, 128)  # cells a side: the one that a value is read from, and the one it is compared with
EDGE = 0.025  # the frame is this share of each side, at both its ends
EDGE_MASS_BOUND = 0.01  # a law with more than this in the frame, or outside, is not taken to live in the box
OUTSIDE = 3  # times the box: how far the look outside reaches
OUTSIDE_CELLS = 96  # a side: cells eight times as wide as the finest grid's, for a ninth of its points
ERROR_BOUND = 0.01  # the two grids agree when they differ by less, absolutely below 1 and relatively above
MASS_BOUND = 0.001  # a density that integrates to 1 within this is resolved by the grid and lives in the box
CHUNK = 4_096  # coordinates a call: the activations of a small network stay in the cache, which halves the time


class CachedFunction:
    """A function of points that will not change any more; its values on a grid are computed once and kept.

    Whoever evaluates several metrics at a checkpoint wraps the energy once and gives all of them the wrapped one.
    Being called, and being differentiated, are passed through. To be dropped when the parameters change.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        for name in CLOSED_FORMS:  # what an energy offers of its own stays on offer
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))
        self.kept: dict[tuple[Grid, int, torch.dtype, torch.device], Tensor] = {}

    def __call__(self, x: Tensor, /, *sigma: Tensor) -> Tensor:
        return self.function(x, *sigma)


def freeze(data: Data) -> Data:
    """The same data set with its density, score and modes frozen: on a grid they cost more than a small network's."""
    return replace(
        data,
        log_density=data.log_density and CachedFunction(data.log_density),
        score=data.score and CachedFunction(data.score),
        mode_of=data.mode_of and CachedFunction(data.mode_of),
    )


@dataclass(frozen=True)
class GridDistribution:
    """A law on the cells of a grid.

    Attributes:
        points: cells a side.
        log_mass: the log probability of each cell given the box, float64, flat in the order of `nodes`.
        log_z: log ∫ of the unnormalised density over the box, in nats. If it is not finite, neither was the density,
            and there is no law.
    """

    grid: Grid
    points: int
    log_mass: Tensor
    log_z: float

    @property
    def edge_mass(self) -> float:
        """The probability of the outer frame, `EDGE` of each side at both its ends; .0975 if the law is uniform."""
        width = max(1, round(EDGE * self.points))
        mass = self.log_mass.exp().reshape((self.points,) * len(self.grid.low))
        inner = mass[(slice(width, -width),) * mass.ndim]
        return float((mass.sum() - inner.sum()).clamp(min=0))

    def expectation(self, values: Tensor) -> float:
        """Σ mass · values over the cells; a cell without mass counts nothing, whatever its value."""
        mass = self.log_mass.exp()
        return float(torch.where(mass == 0, 0.0, mass * values.double()).sum())


@dataclass(frozen=True)
class Outside:
    """What a model has outside of the box, within `OUTSIDE` times the box.

    Attributes:
        log_mass: log ∫ exp(-E) there, in nats; coarse: on half as many cells a side.
        log_rim: of it, what lies in the outer frame of the wide box, beyond which nobody looks.
    """

    log_mass: float
    coarse: float
    log_rim: float

    def share(self, log_z: float) -> float:
        """P(x not in the box) = Z' / (Z + Z'); log Z over the box is `log_z`."""
        return _share(self.log_mass, log_z)

    def added(self, log_z: float, *, coarse: bool = False) -> float:
        """log (Z + Z') - log Z, what the mass outside adds to log Z; 0 where it is no number, which is warned about."""
        more = self.coarse if coarse else self.log_mass
        found = float(torch.nn.functional.softplus(torch.tensor(more - log_z, dtype=torch.float64)))
        return found if math.isfinite(found) else 0.0

    def rim_share(self, log_z: float) -> float:
        """The model's probability in the outer frame of the wide box; NaN where the energy is no number outside."""
        return _share(self.log_rim, log_z + self.added(log_z)) if not math.isnan(self.log_mass) else math.nan


def _share(log_part: float, log_rest: float) -> float:
    return float(torch.sigmoid(torch.tensor(log_part - log_rest, dtype=torch.float64)))


@dataclass(frozen=True)
class Partition:
    """log ∫ exp(-E) in nats, over the box and what lies around it, its numerical error, and where the mass is.

    Attributes:
        edge_mass: the probability of the box's outer frame, given the box.
        outside_mass: the probability outside of the box; rim_mass: in the outer frame of what is looked at.
    """

    log_z: float
    error: float
    edge_mass: float
    outside_mass: float
    rim_mass: float

    @property
    def warning(self) -> str:
        """Why nothing that rests on log Z may be ranked; empty if it may."""
        return integration_warning(self.log_z, self.error, rim_mass=self.rim_mass)


def integration_warning(
    value: float,
    error: float,
    *,
    edge_mass: float = 0.0,
    data_mass: float = 1.0,
    outside_mass: float = 0.0,
    rim_mass: float = 0.0,
) -> str:
    """Why an integral is not to be ranked; empty if it may be.

    Args:
        value, error: the integral and the difference of two grids; at most `ERROR_BOUND` times max(1, |value|).
        edge_mass: the model's probability in the outer frame; at most `EDGE_MASS_BOUND`.
        data_mass: the integral of the data's density over the box; at most `MASS_BOUND` from 1.
        outside_mass: the model's probability outside of the box, of an integral over the box alone.
        rim_mass: the model's probability in the outer frame of `OUTSIDE` times the box, of an integral over all.
    """
    if not abs(data_mass - 1) <= MASS_BOUND:
        return f"the grid finds a mass of {data_mass:.4f} for the data's density, not 1"
    if not edge_mass <= EDGE_MASS_BOUND:
        return f"not integrable in the box: {edge_mass:.2%} of its mass lies in the outer frame"
    if not outside_mass <= EDGE_MASS_BOUND:
        return f"not integrable in the box: {outside_mass:.2%} of its mass lies outside, within {OUTSIDE} times the box"
    if not rim_mass <= EDGE_MASS_BOUND:
        return f"not integrable: {rim_mass:.2%} of its mass lies in the outer frame of {OUTSIDE} times the box"
    if not error <= ERROR_BOUND * max(1.0, abs(value)):
        return f"too sharp for the grid: two grids differ by {error:.2g}"
    return ""


def grid_points(
    grid: Grid, n: int, *, dtype: torch.dtype = torch.float64, device: str | torch.device = "cpu"
) -> tuple[Tensor, float]:
    """The centres of n cells a side, (n**d, d), and the volume of a cell; Σ f(centre) · volume is the midpoint rule.

    The last coordinate runs fastest, so `values.reshape(n, n)[i, j]` is the value at the i-th x and the j-th y.

    Raises:
        ValueError: if the box is not of one or two dimensions, or is empty.
    """
    sides = list(zip(grid.low, grid.high, strict=True))
    if len(sides) not in (1, 2) or any(not low < high for low, high in sides):
        raise ValueError(f"a grid is a box of 1 or 2 dimensions with low < high; got {grid}")
    steps = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    axes = [low + (high - low) * steps for low, high in sides]
    centres = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(sides))
    return centres.to(device, dtype), math.prod((high - low) / n for low, high in sides)


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x) for x of shape (n, *event), without a graph and a few points at a time."""
    size = max(128, CHUNK // math.prod(x.shape[1:]))
    with torch.no_grad():
        return torch.cat([function(chunk) for chunk in torch.split(x, size)])


def evaluate(
    function: Callable[[Tensor], Tensor], grid: Grid, n: int = GRIDS[0], *, like: Tensor | None = None
) -> Tensor:
    """The function's values at the nodes, (n**d, ...), by `in_chunks`; kept if it is `Frozen`.

    Args:
        function: maps (B, d) to (B, ...), such as an energy, a log density, or the index of the nearest mode.
        like: a tensor of the dtype and on the device that the function computes in; float64 on the CPU if None.
    """
    like = torch.empty(0, dtype=torch.float64) if like is None else like
    key = (grid, n, like.dtype, like.device)
    if isinstance(function, CachedFunction) and key in function.kept:
        return function.kept[key]
    centres, _ = grid_points(grid, n, dtype=like.dtype, device=like.device)
    values = in_chunks(function, centres)
    if isinstance(function, CachedFunction):
        function.kept[key] = values
    return values


def normalise(log_weights: Tensor, grid: Grid, n: int) -> GridDistribution:
    """The law whose density is ∝ exp(log_weights) at the nodes, (n**d,), whatever floating type they are in."""
    cell = math.prod((high - low) / n for low, high in zip(grid.low, grid.high, strict=True))
    log_weights = log_weights.double() + math.log(cell)
    log_z = log_weights.logsumexp(0)
    return GridDistribution(grid, n, log_weights - log_z, float(log_z))


def tabulate(energy: Energy, grid: Grid, n: int = GRIDS[0], *, like: Tensor | None = None) -> GridDistribution:
    """The law ∝ exp(-E) on the cells of the grid; `like` as in `evaluate`."""
    return normalise(-evaluate(energy, grid, n, like=like), grid, n)


def tabulate_density(
    log_density: Callable[[Tensor], Tensor], grid: Grid, n: int = GRIDS[0], *, like: Tensor | None = None
) -> GridDistribution:
    """The law of a log density on the cells of the grid; `log_z` is then the log of its mass in the box."""
    return normalise(evaluate(log_density, grid, n, like=like), grid, n)


def outside(energy: Energy, grid: Grid, log_z: float, *, like: Tensor | None = None) -> Outside:
    """What lies outside of the box, by midpoint rules over `OUTSIDE` times the box less the box.

    A ridge of energy along the box's edge does not hide what lies behind it, but a mode far narrower than a thirtieth
    of the box may fall between two nodes; where more than a hundredth of the mass is outside, twice as many nodes are
    taken. An energy of +inf is no mass; one that is NaN or -inf somewhere makes every value NaN.

    Args:
        log_z: log ∫ exp(-E) over the box, in nats.
        like: as in `evaluate`.
    """
    sides = [(low, high, (OUTSIDE - 1) / 2 * (high - low)) for low, high in zip(grid.low, grid.high, strict=True)]
    wide = Grid(tuple(low - more for low, _, more in sides), tuple(high + more for _, high, more in sides))

    def integrals(n: int) -> tuple[float, float]:
        log_weights = -evaluate(energy, wide, n, like=like).double()
        centres, cell = grid_points(wide, n, device=log_weights.device)
        middle = centres.new_tensor([(low + high) / 2 for low, high, _ in sides])
        half = centres.new_tensor([(high - low) / 2 for low, high, _ in sides])
        furthest = ((centres - middle).abs() / half).amax(-1)  # 1 at the box's edge
        of_frame = furthest > OUTSIDE * (1 - 2 * EDGE)
        masses = (log_weights.masked_fill(~chosen, -math.inf).logsumexp(0) for chosen in (furthest > 1, of_frame))
        outer, rim = (float(mass) + math.log(cell) for mass in masses)
        return (outer, rim) if not math.isinf(outer) or outer < 0 else (math.nan, math.nan)

    cells = OUTSIDE_CELLS
    (fine, rim), (coarse, _) = integrals(cells), integrals(cells // 2)
    if _share(fine, log_z) > EDGE_MASS_BOUND:
        coarse, (fine, rim) = fine, integrals(2 * cells)
    return Outside(fine, coarse, rim)


def outside_mass(energy: Energy, grid: Grid, log_z: float, *, like: Tensor | None = None) -> float:
    """P(x not in the box) = Z' / (Z + Z'), as `outside` finds it; NaN where the energy is no number there."""
    return outside(energy, grid, log_z, like=like).share(log_z)


def log_partition(energy: Energy, grid: Grid, *, points: int = GRIDS[0], like: Tensor | None = None) -> Partition:
    """log ∫ exp(-E(x)) dx over `OUTSIDE` times the box: on `points` cells a side of the box, coarser outside of it.

    The error is the difference to half as many cells. The sum is in float64 whatever the energy computes in; `like` as
    in `evaluate`.
    """
    fine, coarse = (tabulate(energy, grid, n, like=like) for n in (points, points // 2))
    beyond = outside(energy, grid, fine.log_z, like=like)
    log_z = fine.log_z + beyond.added(fine.log_z)
    error = abs(log_z - coarse.log_z - beyond.added(coarse.log_z, coarse=True))
    share, rim = beyond.share(fine.log_z), beyond.rim_share(fine.log_z)
    return Partition(log_z, error, fine.edge_mass, share, rim)


def grid_sample(
    energy: Energy, grid: Grid, n: int, rng: Rng, *, points: int = GRIDS[0], like: Tensor | None = None
) -> Tensor:
    """n draws of exp(-E)/Z on the box, (n, d): a cell by its probability, then a uniform point in the cell.

    Exact up to the cell: a coordinate's variance grows by (side / points)² / 12 at most.

    Raises:
        ValueError: if the energy is not a number somewhere on the grid.
    """
    table = tabulate(energy, grid, points, like=like)
    if not math.isfinite(table.log_z):
        raise ValueError(f"cannot sample an energy that is not finite on the grid; its log Z is {table.log_z}")
    dtype = torch.float64 if like is None else like.dtype
    centres, _ = grid_points(grid, points, device=table.log_mass.device)
    cells = rng.choice(table.log_mass.exp(), rng.batch_shape(n))
    sides = torch.tensor(grid.high, dtype=torch.float64) - torch.tensor(grid.low, dtype=torch.float64)
    x = centres[cells]
    return (x + (rng.uniform_like(x).to(x.device) - 0.5) * sides.to(x.device) / points).to(dtype)
