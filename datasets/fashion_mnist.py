"""Photographs of clothes, 28×28, from a user's own copy, dequantised."""

from typing import Annotated

from bench.api import Data, Download, Integer, Linear, Pixels, Rng, dataset, image_data, locate, read_idx

HOME = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
SHA256 = {
    TRAIN: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    TEST: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
}


@dataset(
    source="Xiao, Rasul & Vollgraf 2017, Fashion-MNIST: a novel image dataset",
    downloads=(
        Download(f"{HOME}/{TRAIN}.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        Download(f"{HOME}/{TEST}.gz", "md5:bef4ecab320f06d8554ea6380940ec79"),
    ),
)
def fashion_mnist(
    rng: Rng,
    *,
    n_train: Annotated[int, Integer(1, 55_000)] = 55_000,
    n_valid: Annotated[int, Integer(1, 5_000)] = 5_000,
    n_test: Annotated[int, Integer(1, 10_000)] = 10_000,
    sigma: Annotated[float, Linear(0.0, 1.0)] = 0.0,
) -> Data:
    """x = 2 (pixel + u) / 256 - 1 + σz, u ~ U[0, 1) and z ~ N(0, 1) in each pixel, events (1, 28, 28).

    The last 5,000 training images are for validation. Read from idx files, gzipped or not, in the data directory or its
    folder `fashion_mnist` or `FashionMNIST/raw`. `local_scale` is √v, v = (2/256)²/12 + σ²: where an image is black at
    the rim, only u and z vary.
    """

    def images(file: str) -> Pixels:
        forms = [f"{folder}{file}{end}" for folder in ("", "FashionMNIST/raw/") for end in (".gz", "")]
        return read_idx(locate("fashion_mnist", *forms), SHA256[file])[:, None]

    train, test = images(TRAIN), images(TEST)
    return image_data("fashion_mnist", rng, train[:n_train], train[-n_valid:], test[:n_test], sigma=sigma)
