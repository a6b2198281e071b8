"""The narrowest local direction of data that does not declare it, from covariances of neighbourhoods."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.common.errors import UsageError

POINTS = 8_192  # at most; more are thinned evenly
CENTRES = 64  # neighbourhoods at most; fewer in high dimensions
WORK = 2_000_000_000  # multiplications for all neighbourhoods of one size
NEIGHBOURS = 8  # a dimension, in the smallest neighbourhoods
GROWTH = 1.2
RESOLVED = 0.6  # the sets of this project that declare their scale are met within a factor of 2 from .55 to .62


def estimate_local_scale(x: Tensor) -> float:
    """√ median λ_min(Cov(x | neighbourhood)), the standard deviation in the narrowest local direction, in units of x.

    A neighbourhood is a point and its nearest others, k in all: 8 d to begin with, in d dimensions. In a ball of radius
    r that the data fill evenly λ_min = r²/(d + 2), and k draws show about (1 - √(d/k))² of it: such a λ_min speaks of
    the ball, not of the data. So k grows by a fifth at a time until λ_min is at most .6 of that, or k is all points.
    (The distance of nearest neighbours would tell how many points there are, not how narrow their law is.)

    The estimate rather lies low, down to one half, which errs towards smaller Langevin steps. Where the narrow side is
    not narrow compared with the gap to the next mode or arm, or holds too few points, it is the scale of both together.

    Args:
        x: examples (n, *event), of any floating type; a stack is flattened by the caller.

    Returns:
        The scale; it depends on nothing but x.

    Raises:
        UsageError: if there are no more points than dimensions, one is not finite, or some direction has no variance.
    """
    points = _evenly(x.detach().reshape(len(x), math.prod(x.shape[1:])), POINTS).double().cpu()
    n, d = points.shape
    if n <= d:
        raise UsageError(
            f"a local scale in {d} dimensions needs more than {d} examples, better {NEIGHBOURS * d}; got {n}; "
            "give more or declare local_scale in the data set"
        )
    if not points.isfinite().all():
        raise UsageError("a local scale needs finite examples; got NaN or infinity; look at how the data are loaded")
    centres = _evenly(points, max(3, min(CENTRES, WORK // (NEIGHBOURS * d**3))))
    distances, order = torch.cdist(centres, points).sort(1)
    k = min(n, NEIGHBOURS * d)
    while True:
        smallest = torch.stack(
            [torch.linalg.eigvalsh(torch.atleast_2d(points[near].T.cov()))[0] for near in order[:, :k]]
        )
        of_a_ball = distances[:, k - 1].square() / (d + 2) * (1 - (d / k) ** 0.5) ** 2
        if k == n or 0 < (smallest / of_a_ball).median() <= RESOLVED:
            break
        k = min(n, math.ceil(GROWTH * k))
    variance = float(smallest.median())
    if not variance > 1e-12 * float(points.var(0).max()):
        raise UsageError(
            "a local scale needs data that vary in every direction; these are constant in one of them; add noise "
            "(dequantise), drop it, or declare local_scale in the data set"
        )
    return math.sqrt(variance)


def _evenly(x: Tensor, most: int) -> Tensor:
    count = min(len(x), most)
    return x[torch.arange(count, device=x.device) * len(x) // max(1, count)]
