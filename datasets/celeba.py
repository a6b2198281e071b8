"""Faces of celebrities in colour, 32×32 by default, from a user's own copy, dequantised."""

from typing import Annotated

from bench.api import Data, Integer, Linear, Rng, dataset, image_data, locate, read_photographs

FIRST = {"train": 1, "valid": 162_771, "test": 182_638}  # the official partition, by the number of the photograph


@dataset(
    source="Liu, Luo, Wang & Tang 2015, Deep learning face attributes in the wild",
    manual_download="its licence is for non-commercial research and has to be read: get img_align_celeba.zip "
    "by hand from http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
)
def celeba(
    rng: Rng,
    *,
    size: Annotated[int, Integer(16, 128)] = 32,
    n_train: Annotated[int, Integer(1, 162_770)] = 20_000,
    n_valid: Annotated[int, Integer(1, 19_867)] = 2_000,
    n_test: Annotated[int, Integer(1, 19_962)] = 2_000,
    sigma: Annotated[float, Linear(0.0, 1.0)] = 0.0,
) -> Data:
    """x = 2 (pixel + u) / 256 - 1 + σz, u ~ U[0, 1) and z ~ N(0, 1) in each pixel, events (3, size, size).

    Aligned and cropped photographs of 178×218 pixels: their middle 140×140, resized with antialiasing. The first so
    many of each official part, read in place from img_align_celeba.zip or from its folder; a photograph takes about a
    millisecond. `local_scale` is √v, v = (2/256)²/12 + σ², the variance that u and z give in every direction.
    """
    path = locate("celeba", "img_align_celeba.zip", "img_align_celeba")
    train, valid, test = (
        read_photographs(
            path,
            [f"{FIRST[part] + k:06d}.jpg" for k in range(n)],
            size=(178, 218),
            crop=140,
            side=size,
        )
        for part, n in (("train", n_train), ("valid", n_valid), ("test", n_test))
    )
    return image_data("celeba", rng, train, valid, test, sigma=sigma)
