"""Mixtures with a known density in two dimensions and more."""

from typing import Annotated

from bench.api import (
    Choice,
    Count,
    Data,
    Integer,
    Rng,
    UsageError,
    dataset,
    embedded_law,
    planar_mixture,
    wells,
)

CORNERS = [[2.0, 2.0], [2.0, -2.0], [-2.0, 2.0], [-2.0, -2.0]]
WELLS = 4  # coordinates with two wells each


@dataset(
    source="Nicoli et al. 2020 and Midgley et al. 2023 have many-well products; the mixtures are our own", version=1
)
def gaussian_mixture(
    rng: Rng,
    *,
    n_train: Count = 8192,
    n_valid: Count = 2048,
    n_test: Count = 8192,
    dim: Annotated[int, Integer(2, 64)] = 2,
    kind: Annotated[str, Choice("separated", "overlapping", "unequal", "conditioned", "many_well")] = "separated",
) -> Data:
    """x = H (y, z): y of two to four coordinates with modes, z normal, H a reflection; entropy and modes are known.

    separated: four modes of standard deviation ½ on the corners (±2, ±2). overlapping: three of 1, 1 and .7 within 3.
    unequal: three separated ones of weights .6, .3 and .1. conditioned: the overlapping ones, the standard deviations
    of z from .05 to 1. many_well: p ∝ exp(-3 (y² - 1)² - .3 y) in each of min(d, 4) coordinates, 16 modes. But in
    "conditioned", z ~ N(0, I).

    Raises:
        UsageError: if "conditioned" is asked for on the plane, which has no z.
    """
    over = planar_mixture([[-1.5, 0.0], [1.5, 0.0], [0.0, 1.5]], [0.4, 0.3, 0.3], [1.0, 1.0, 0.7])
    if kind == "conditioned" and dim < 4:
        raise UsageError(f"the kind conditioned needs dim 4 or more, as two coordinates have modes; got dim={dim}")
    if kind == "many_well":
        core = wells(min(dim, WELLS), depth=3.0, tilt=0.3)
    elif kind == "separated":
        core = planar_mixture(CORNERS, [0.25] * 4, [0.5] * 4)
    elif kind == "unequal":
        core = planar_mixture(CORNERS[:3], [0.6, 0.3, 0.1], [0.5] * 3)
    else:
        core = over
    others = dim - core.modes.shape[1]
    spreads = [0.05 ** (i / (others - 1)) for i in range(others)] if kind == "conditioned" else [1.0] * others
    return embedded_law("gaussian_mixture", rng, (n_train, n_valid, n_test), core, spreads, half=8.0)
