"""Examples that are not of a data set, by stated recipes: what an energy should find unlikely."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from bench.core.data_types import Data
from bench.core.rng import Rng
from bench.plugins import builders, registry


def outliers(data: Data, n: int, rng: Rng) -> dict[str, Tensor]:
    """Sets of n examples by name, (n, *event), none of which are of the data's law.

    "uniform": on the box of the training data. "permuted": test examples with each coordinate taken from another
    example, which keeps the law of every coordinate (of images: every pixel). "gaussian": independent coordinates with
    their own means and variances. For a data set of the project also the test examples of its others of the same shape
    that come with it, at most n.
    """
    flat = data.train.flatten(1)
    test = data.test.flatten(1)
    low, high = flat.amin(0), flat.amax(0)
    shape, like = (n, flat.shape[1]), data.train
    chosen = rng.integers(len(test), shape).to(like.device)
    made = {
        "uniform": low + (high - low) * rng.uniform(shape, like.dtype).to(like.device),
        "permuted": test.gather(0, chosen),
        "gaussian": flat.mean(0) + flat.std(0) * rng.normal(shape, like.dtype).to(like.device),
    }
    found = {name: x.reshape(n, *data.test.shape[1:]) for name, x in made.items()}
    if data.name in registry.names("datasets"):
        others = {name: _test_of(name)[:n].to(like) for name in registry.names("datasets") if name != data.name}
        found |= {name: x for name, x in others.items() if x.shape[1:] == data.test.shape[1:]}
    return found


@cache
def _test_of(name: str) -> Tensor:
    """The test examples of a data set at seed 0, none where it does not come with the project."""
    if not registry.find("datasets", name).info.bundled:
        return torch.empty(0)
    return builders.dataset(name, Rng(0, "data")).test
