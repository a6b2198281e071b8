"""The parts of somebody's own data: decided by what an example is, not by where it lies in its file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.common.errors import UsageError

FEWEST = 10  # examples in each part


def hash_split(digests: Sequence[bytes], name: str, valid: float, test: float) -> dict[str, NDArray[np.bool_]]:
    """Which examples are in `train`, `valid` and `test`, by the first 8 bytes of each example's hash.

    Equal examples are in one part, and an example stays in its part whatever else there is.

    Raises:
        UsageError: if a part has fewer than ten.
    """
    u = np.frombuffer(b"".join(digests), np.uint64) / 2.0**64
    parts = {"train": u >= valid + test, "valid": (u >= test) & (u < valid + test), "test": u < test}
    if few := [f"{part.sum()} to {part_name}" for part_name, part in parts.items() if part.sum() < FEWEST]:
        raise UsageError(
            f"each part needs {FEWEST} examples; {name} has {len(u)}, which leaves {', '.join(few)}: give more, or "
            "other shares [valid=...,test=...]"
        )
    return parts
