"""Handwritten digits, 28×28, from a user's own copy, dequantised."""

from typing import Annotated

from bench.api import Data, Download, Integer, Linear, Pixels, Rng, dataset, image_data, locate, read_idx

HOME = "https://ossci-datasets.s3.amazonaws.com/mnist"
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
SHA256 = {
    TRAIN: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TEST: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}


@dataset(
    source="LeCun, Cortes & Burges 1998, The MNIST database of handwritten digits",
    downloads=(
        Download(f"{HOME}/{TRAIN}.gz", "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        Download(f"{HOME}/{TEST}.gz", "md5:9fb629c4189551a2d022fa330f9573f3"),
    ),
)
def mnist(
    rng: Rng,
    *,
    n_train: Annotated[int, Integer(1, 55_000)] = 55_000,
    n_valid: Annotated[int, Integer(1, 5_000)] = 5_000,
    n_test: Annotated[int, Integer(1, 10_000)] = 10_000,
    sigma: Annotated[float, Linear(0.0, 1.0)] = 0.0,
) -> Data:
    """x = 2 (pixel + u) / 256 - 1 + σz, u ~ U[0, 1) and z ~ N(0, 1) in each pixel, events (1, 28, 28).

    The last 5,000 training images are for validation. Read from idx files, gzipped or not, in the data directory or its
    folder `mnist` or `MNIST/raw`. `local_scale` is √v, v = (2/256)²/12 + σ²: where an image is black at
    the rim, only u and z vary.
    """

    def images(file: str) -> Pixels:
        forms = [f"{folder}{file}{end}" for folder in ("", "MNIST/raw/") for end in (".gz", "")]
        return read_idx(locate("mnist", *forms), SHA256[file])[:, None]

    train, test = images(TRAIN), images(TEST)
    return image_data("mnist", rng, train[:n_train], train[-n_valid:], test[:n_test], sigma=sigma)
