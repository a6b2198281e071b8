"""Patches of photographs, and whole photographs held out for denoising."""

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from bench.api import Choice, Data, Integer, Linear, Rng, UsageError, content, cropped, dataset, denoising_set

# Split by photograph, once and for all. Left out: drawings (chessboard, color, horse, logo, phantom), near-duplicates
# (motorcycle_right, microaneurysms, text), cell (a reconstructed hologram), clock_motion (blurred), and downloads.
TEST, VALID = ("astronaut.png", "camera.png", "coffee.png", "gravel.png"), ("coins.png", "rocket.jpg")
TRAIN = "brick.png chelsea.png grass.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png page.png retina.jpg"
LUMINANCE = (2125, 7154, 721)  # of red, green, blue in ten-thousandths (Rec. ITU-R BT.709); whole, to be exact


@dataset(source="the photographs in scikit-image's wheel (van der Walt et al. 2014, scikit-image)", version=1)
def photos(
    rng: Rng,
    *,
    colour: Annotated[str, Choice("grey", "rgb")] = "grey",
    size: Annotated[int, Integer(8, 128)] = 40,
    n_train: Annotated[int, Integer(1, 100_000)] = 8000,
    n_valid: Annotated[int, Integer(1, 10_000)] = 1000,
    n_test: Annotated[int, Integer(1, 10_000)] = 1000,
    whole: Annotated[int, Integer(8, 300)] = 256,
    sigma: Annotated[float, Linear(0.0, 1.0)] = 0.0,
    held_out: Annotated[str, Choice("photos", "set12", "bsd68")] = "photos",
) -> Data:
    """x = 2 pixel / 255 - 1 + σz, z ~ N(0, 1), events (C, size, size): random crops, mirrored at random.

    Each photograph of a part is as likely as another, each place in it, each of the four mirrorings. Grey (C = 1) is
    the luminance of the colour photographs, and the grey ones; rgb (C = 3) the colour ones only. `whole_valid` and
    `whole_test` are the middle `whole` × `whole` pixels of the held-out photographs, without noise; with `held_out`,
    the latter are a user's copy of Set12 (the middle of each) or of BSD68 (whole). The 8 bits are not dequantised:
    `local_scale` is σ, the deviation where a photograph is flat, or unknown without noise.
    """
    pixels = [[_pixels(name) for name in names] for names in (TEST, VALID, TRAIN.split())]
    if colour == "rgb":
        pixels = [[photo for photo in part if len(photo) == 3] for part in pixels]
    scaled = [[_in_units_of_x(photo, colour) for photo in part] for part in pixels]

    def patches(part: list[Tensor], n: int) -> Tensor:
        shape = rng.batch_shape(n)
        which, mirrored = rng.integers(len(part), shape).flatten(), rng.integers(4, shape).flatten()
        place = rng.uniform((*shape, 2), torch.float64).reshape(-1, 2)
        draws = zip(which.tolist(), place.tolist(), mirrored.tolist(), strict=True)
        x = torch.stack([cropped(part[k], size, u, m) for k, u, m in draws]).reshape(*shape, -1, size, size)
        return x + sigma * rng.normal_like(x) if sigma > 0 else x

    test, valid, train = map(patches, scaled, (n_test, n_valid, n_train))
    whole_test, whole_valid = (torch.stack([cropped(photo, whole) for photo in part]) for part in scaled[:2])
    if held_out != "photos":
        pixels[0] = list(denoising_set(held_out, colour, whole))
        whole_test = torch.stack([_in_units_of_x(photo, colour) for photo in pixels[0]])
    data = Data("photos", train, valid, test, sigma or None, whole_valid=whole_valid, whole_test=whole_test)
    return replace(data, noise=sigma, value_range=(-1.0, 1.0), content=content(*chain(*pixels)))


def _pixels(name: str) -> Tensor:
    """(C, H, W), whole numbers 0 to 255."""
    import skimage.data
    from skimage.io import imread  # takes a third of a second to import

    path = Path(skimage.data.__file__).with_name(name)
    if not path.is_file():
        raise UsageError(f"photos needs {name} of scikit-image 0.26.0; it is not in {path.parent}; install it again")
    return torch.from_numpy(np.atleast_3d(imread(path))).permute(2, 0, 1)


def _in_units_of_x(photo: Tensor, colour: str) -> Tensor:
    if colour == "grey" and len(photo) == 3:
        photo = (photo * torch.tensor(LUMINANCE)[:, None, None]).sum(0, keepdim=True) / sum(LUMINANCE)
    return 2 * photo.float() / 255 - 1
