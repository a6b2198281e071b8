"""A tenth of Fashion-MNIST that comes with the project, dequantised."""

from dataclasses import replace
from typing import Annotated

import torch

from bench.api import Data, Integer, Linear, Rng, dataset, embedded, image_data


@dataset(source="8,000 + 2,000 images of Fashion-MNIST (Xiao, Rasul & Vollgraf 2017), © Zalando SE, Expat", version=1)
def fashion28(
    rng: Rng,
    *,
    n_train: Annotated[int, Integer(1, 8000)] = 8000,
    n_valid: Annotated[int, Integer(1, 1000)] = 1000,
    n_test: Annotated[int, Integer(1, 1000)] = 1000,
    sigma: Annotated[float, Linear(0.0, 1.0)] = 0.0,
) -> Data:
    """x = 2 (pixel + u) / 256 - 1 + σz, u ~ U[0, 1) and z ~ N(0, 1) in each pixel, events (1, 28, 28).

    The first 800 training images of each of the ten classes, and of the 200 first test images of each class one half
    for validation, one for testing. `local_scale` is √v,
    v = (2/256)²/12 + σ²: where an image is black at the rim, only u and z vary.
    """
    pixels = embedded("fashion28")
    train, valid, test = (
        pixels[f"{part}_images"][:n, None] for part, n in (("train", n_train), ("valid", n_valid), ("test", n_test))
    )
    data = image_data("fashion28", rng, train, valid, test, sigma=sigma)
    train_classes, test_classes = (
        torch.from_numpy(pixels[f"{part}_labels"][:n]).long() for part, n in (("train", n_train), ("test", n_test))
    )
    return replace(data, extractor="fashion28-434e5f55", train_classes=train_classes, test_classes=test_classes)
