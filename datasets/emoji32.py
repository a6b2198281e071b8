"""Colour pictures of 32×32 that come with the project, dequantised."""

from typing import Annotated

from bench.api import Data, Integer, Linear, Rng, dataset, embedded, image_data


@dataset(source="the bitmaps of Noto Color Emoji 2.042 (Google, OFL 1.1; its image sources Apache 2.0)", version=1)
def emoji32(
    rng: Rng,
    *,
    n_train: Annotated[int, Integer(1, 3100)] = 3100,
    n_valid: Annotated[int, Integer(1, 400)] = 400,
    n_test: Annotated[int, Integer(1, 400)] = 400,
    sigma: Annotated[float, Linear(0.0, 1.0)] = 0.0,
) -> Data:
    """x = 2 (pixel + u) / 256 - 1 + σz, u ~ U[0, 1) and z ~ N(0, 1) in each pixel, events (3, 32, 32).

    On white, each pixel the mean over its area. All skin tones, genders and directions of an emoji lie in one part, all
    couples and families do, and so do images that are nearer than .08 of the range in the root mean square over pixels.
    `local_scale` is √v, v = (2/256)²/12 + σ²: where an image is white at the rim, only u and z vary.
    """
    pixels = embedded("emoji32")
    train, valid, test = (
        pixels[f"{part}_images"][:n].transpose(0, 3, 1, 2)
        for part, n in (("train", n_train), ("valid", n_valid), ("test", n_test))
    )
    return image_data("emoji32", rng, train, valid, test, sigma=sigma)
