"""Sets of photographs that papers on denoising report on, from a user's own copies."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.common.errors import UsageError
from bench.data.data_dir import locate
from bench.data.user_images import image_files, read_image

SETS = {"set12": (("Set12", "set12"), 12), "bsd68": (("BSD68", "bsd68", "CBSD68"), 68)}
"""By name: the folders in which people have it, and how many images it is of."""


def denoising_set(name: str, colour: str, side: int) -> Tensor:
    """The images of a set, whole numbers 0 to 255, (n, C, H, W).

    Upright photographs of BSD68 are turned by a quarter, so that all 68 are of 321×481 pixels: what is measured there
    is what papers measure. The images of Set12 are of two sizes, and their middle `side` × `side` pixels are taken;
    with 256 seven of the twelve are whole.

    Args:
        name: one of `SETS`.
        colour: "grey" or "rgb".

    Raises:
        UsageError: if there are not as many images as there should be, or of sizes that do not go together; an
            `AbsentDataError` if there is no such folder in the data directory.
    """
    folders, count = SETS[name]
    folder = locate(name, *folders, way_out=f"put its images into a folder {folders[0]} there")
    images = [torch.from_numpy(read_image(path, colour)) for path in image_files(folder)]
    if len(images) != count:
        raise UsageError(f"{name} is of {count} images; {folder} has {len(images)}: leave those of the set alone in it")
    if name == "set12":
        if (smallest := min(min(image.shape[1:]) for image in images)) < side:
            raise UsageError(f"an image of {folder} has {smallest} pixels a side, fewer than {side}; lower whole")
        images = [cropped(image, side) for image in images]
    else:
        images = [image.rot90(1, (1, 2)) if image.shape[1] > image.shape[2] else image for image in images]
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1:
        raise UsageError(f"the images of {name} must be alike; {folder} has {', '.join(f'{h}×{w}' for h, w in sizes)}")
    return torch.stack(images)


def cropped(photo: Tensor, size: int, place: tuple[float, float] = (0.5, 0.5), mirrored: int = 0) -> Tensor:
    """(C, size, size) of (C, H, W), as far along each axis as `place` says.

    Args:
        mirrored: bit 1 flips columns, bit 2 rows.
    """
    top, left = (int(u * (n - size + 1)) for u, n in zip(place, photo.shape[1:], strict=True))
    patch = photo[:, top : top + size, left : left + size]
    return patch.flip([axis for axis, bit in ((2, 1), (1, 2)) if mirrored & bit])
