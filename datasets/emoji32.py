"""Colour pictures of 32×32 that come with the project, dequantised."""

from dataclasses import replace
from typing import Annotated

import torch

from bench.api import Data, Integer, Linear, Rng, dataset, embedded, image_data

TONES = range(0x1F3FB, 0x1F400)
FLAGS = (range(0x1F1E6, 0x1F200), range(0xE0000, 0xE0080))  # pairs of letters, and tags
FACES = (range(0x1F600, 0x1F650), range(0x1F910, 0x1F930), range(0x1F970, 0x1F97B), range(0x1FAE0, 0x1FAEA))
SIGNS = (range(0x1F300),)


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
    data = image_data("emoji32", rng, train, valid, test, sigma=sigma)
    train_classes, test_classes = (
        torch.tensor([_kind(name) for name in pixels[f"{part}_names"][:n].tolist()])
        for part, n in (("train", n_train), ("test", n_test))
    )
    return replace(data, extractor="emoji32-67065ec5", train_classes=train_classes, test_classes=test_classes)


def _kind(name: str) -> int:
    """0 flags, 1 to 5 people and hands by the darkest of their skin tones, 6 faces, 7 signs, 8 the rest."""
    points = [int(point, 16) for point in name.split()]
    tones = [point for point in points if point in TONES]
    if tones:
        return 1 + max(tones) - TONES.start
    blocks = {0: FLAGS, 6: FACES, 7: SIGNS}
    return next((kind for kind, ranges in blocks.items() if any(max(points) in block for block in ranges)), 8)
