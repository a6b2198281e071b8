"""Photographs of ten kinds of things, 32×32 in colour, from a user's own copy, dequantised."""

from typing import Annotated

import numpy as np

from bench.api import Data, Download, Integer, Linear, Rng, dataset, image_data, locate, read_cifar

ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
TRAIN = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST = {"test_batch": "40351d587109b95175f43aff81a1287e"}


@dataset(
    source="Krizhevsky 2009, Learning multiple layers of features from tiny images",
    downloads=(Download("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", f"md5:{ARCHIVE_MD5}"),),
)
def cifar10(
    rng: Rng,
    *,
    n_train: Annotated[int, Integer(1, 45_000)] = 45_000,
    n_valid: Annotated[int, Integer(1, 5_000)] = 5_000,
    n_test: Annotated[int, Integer(1, 10_000)] = 10_000,
    sigma: Annotated[float, Linear(0.0, 1.0)] = 0.0,
) -> Data:
    """x = 2 (pixel + u) / 256 - 1 + σz, u ~ U[0, 1) and z ~ N(0, 1) in each pixel, events (3, 32, 32).

    The last 5,000 training images are for validation. Read from the "python version" of the archive, or from its folder
    of batches. `local_scale` is √v, v = (2/256)²/12 + σ², the variance that u and z give in every direction.
    """
    path = locate("cifar10", "cifar-10-python.tar.gz", "cifar-10-batches-py")
    batches = read_cifar(path, ARCHIVE_MD5, TRAIN | TEST)
    train, test = (np.concatenate([batches[name] for name in names]) for names in (TRAIN, TEST))
    return image_data("cifar10", rng, train[:n_train], train[-n_valid:], test[:n_test], sigma=sigma)
