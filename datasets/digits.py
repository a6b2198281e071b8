"""Handwritten digits, 8×8, dequantised."""

from typing import Annotated

import numpy as np

from bench.api import Data, Integer, Linear, Rng, dataset, image_data

LEVELS = 17  # a pixel counts the dark dots, 0 to 16, in a block of 4×4


@dataset(source="Alpaydin & Kaynak, Optical recognition of handwritten digits, 1998, by way of scikit-learn", version=1)
def digits(
    rng: Rng,
    *,
    n_train: Annotated[int, Integer(1, 1197)] = 1197,
    n_valid: Annotated[int, Integer(1, 300)] = 300,
    n_test: Annotated[int, Integer(1, 300)] = 300,
    sigma: Annotated[float, Linear(0.0, 1.0)] = 0.0,
) -> Data:
    """x = 2 (pixel + u) / 17 - 1 + σz, u ~ U[0, 1) and z ~ N(0, 1) in each pixel, events (1, 8, 8).

    The 1,797 images are split once and for all; only u and z depend on the seed, and they are drawn once an image.
    `local_scale` is √v, v = (2/17)²/12 + σ², the variance in a direction in which the pixels do not vary, such as those
    at the rim. Without the noise (σ = `sigma`, in units of x) a feasible Langevin step is tiny beside the distance
    between images.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    scans = load_digits()
    images = scans.images.astype(np.uint8)[:, None]
    # dealt out in six folds digit by digit, so that every part has the same shares of digits
    fold = np.empty(len(images), dtype=np.int64)
    fold[np.argsort(scans.target, kind="stable")] = np.arange(len(images)) % 6
    test, valid, train = images[fold == 0][:n_test], images[fold == 1][:n_valid], images[fold > 1][:n_train]
    return image_data("digits", rng, train, valid, test, sigma=sigma, levels=LEVELS)
