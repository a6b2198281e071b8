"""What image metrics say of sets whose worth is known: between these a model's value is read.

The floor is the test set; a Gaussian fitted to the pixels is the first thing that a model must beat.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd
from torch import Tensor

from bench.common.errors import UsageError
from bench.core.data_types import Data
from bench.core.rng import Rng
from bench.evaluation import image_fidelity
from bench.evaluation.image_fidelity import Fidelity, Registered
from bench.plugins import builders

SIZES = (250, 500, 1_000, 2_000, 5_000, 10_000)
NOISE = (0.1, 0.3)
METRICS = ("class_entropy", "neighbour_distance")


def reference_sets(data: Data, n: int, rng: Rng) -> dict[str, Tensor]:
    """Sets of at most n images by name, (n, *event); those of the test set are as many as it has.

    Test images, alone and with noise z of standard deviation .1 and .3 added; draws of the Gaussian of the training
    images' mean and covariance; independent pixels, normal with their own means and variances; uniform noise.
    """
    if data.value_range is None:
        raise UsageError(f"reference image sets need a value range; {data.name} declares no value_range")
    test, mean = data.test[:n], data.train.mean(0)
    centred = (data.train - mean).flatten(1)
    shape = (n, *data.train.shape[1:])
    # Σ zᵢ(xᵢ - x̄)/√N has the sample covariance of x, and needs no matrix of it
    gaussian = mean + (rng.normal((n, len(centred))) @ centred / len(centred) ** 0.5).reshape(shape)
    independent = mean + data.train.std(0) * rng.normal(shape)
    low, high = data.value_range
    return {
        "test": test,
        **{f"test + {sigma:g} z": test + sigma * rng.normal_like(test) for sigma in NOISE},
        "pixel Gaussian": gaussian,
        "independent pixels": independent,
        "uniform noise": low + (high - low) * rng.uniform(shape),
    }


def reference_metrics(
    data: Data, n: int, source: Registered | None = None, *, only: Collection[str] | None = None
) -> pd.DataFrame:
    """One line a set: its size, the extractor, FID, KID, precision, recall, and what the own extractor sees.

    After the sets come the test set and the pixel Gaussian again, at smaller n: the bias of FID; not with `only`.

    Args:
        n: images in each set.
        source: another extractor than the data set's own, such as `image_fidelity.inception` of a file.
        only: the names of the sets that are wanted, each of which takes a while; all if None.

    Raises:
        UsageError: if the data set has no images, or no extractor and none is given.
    """
    rng = Rng(0, "eval", data.train.device)
    sets = reference_sets(data, n, rng)
    lines = [_line(data, name, images, source) for name, images in sets.items() if only is None or name in only]
    for name in ("test", "pixel Gaussian") if only is None else ():
        smaller = [size for size in SIZES if size < len(sets[name])]
        lines += [_line(data, name, sets[name][:size], source) for size in smaller]
    return pd.DataFrame(lines)


def _line(data: Data, name: str, images: Tensor, source: Registered | None) -> dict[str, Any]:
    found = compared(data, image_fidelity.images_of(images, data), source)
    line = {"dataset": data.name, "set": name, **values(found)}
    if source is None:
        own = {metric: builders.metric(metric)(_no_energy, images, data, Rng(0, "eval")) for metric in METRICS}
        line |= {metric: estimate.value for metric, estimate in own.items()}
    return line


def compared(data: Data, images: Tensor, source: Registered | None) -> Fidelity:
    """uint8 images against a data set's training images, by its own extractor or by another.

    Raises:
        UsageError: if the data set has none and none is given.
    """
    if source is None and data.extractor is None:
        raise UsageError(f"data set {data.name} names no extractor; take Inception features: --inception FILE.pth")
    by = source or image_fidelity.shipped(str(data.extractor))
    return image_fidelity.compare(images, image_fidelity.images_of(data.train, data), by, cuda=images.is_cuda)


def values(found: Fidelity) -> dict[str, Any]:
    """The columns of a comparison; n and the extractor stand before the values that they qualify."""
    return {
        "n": found.n,
        "extractor": found.extractor,
        "fid": found.fid,
        "kid": found.kid,
        "kid_stderr": found.kid_stderr,
        "precision": found.precision,
        "recall": found.recall,
        "certified": found.warning or "yes",
    }


def _no_energy(x: Tensor) -> Tensor:
    raise TypeError("reference sets have no energy; use metrics that need samples only")
