"""Digits, rulers of them, and image metrics as tests ask for them."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from bench.api import Data, Estimate, Rng
from bench.evaluation import reference_sets
from bench.plugins import builders

REF = "digits[sigma=0.15]"


@cache
def digits() -> Data:
    return builders.dataset(REF, Rng(0, "data"))


@cache
def rulers_of_digits() -> dict[str, Tensor]:
    return reference_sets.reference_sets(digits(), 500, Rng(0, "eval"))


def measure(name: str, samples: Tensor, data: Data | None = None) -> Estimate:
    def energy(x: Tensor) -> Tensor:
        raise AssertionError("an image metric looks at samples alone")

    return builders.metric(name)(energy, samples, data or digits(), Rng(0, "eval"))


def value_of(name: str, samples: Tensor) -> float:
    value = measure(name, samples).value
    assert value is not None
    return value
