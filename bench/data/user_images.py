"""Somebody's own images as a data set, by the path of their folder, or of a NumPy file of whole numbers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from bench.common.errors import UsageError
from bench.common.paths import EXTRACTORS
from bench.common.regular_files import require_regular
from bench.core.data_types import Data
from bench.core.rng import Rng
from bench.core.search_spaces import Choice, Integer, Linear
from bench.data.array_files import open_array
from bench.data.hash_split import hash_split
from bench.data.image_data import Pixels, image_data

if TYPE_CHECKING:
    from PIL.Image import Image

ENDS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
LARGEST = 4_000_000_000  # bytes of all pixels together
MOST_PIXELS = 40_000_000  # of one image, which is unpacked whole
MOST_BYTES = 400_000_000  # of an image's file
MODES = {"keep": "", "grey": "L", "rgb": "RGB"}
SHIPPED = tuple(sorted(path.stem for path in EXTRACTORS.glob("*.npz")))


def user_images(
    path: Path,
    rng: Rng,
    *,
    size: Annotated[int, Integer(0, 1024)] = 0,
    colour: Annotated[str, Choice(*MODES)] = "keep",
    valid: Annotated[float, Linear(0.01, 0.5)] = 0.1,
    test: Annotated[float, Linear(0.01, 0.5)] = 0.2,
    sigma: Annotated[float, Linear(0.0, 1.0)] = 0.0,
    extractor: Annotated[str, Choice("none", *SHIPPED)] = "none",
) -> Data:
    """x = 2 (pixel + u) / 256 - 1 + σz, u ~ U[0, 1) and z ~ N(0, 1) in each pixel, events (C, H, W).

    An image's part is decided by the hash of its pixels, so equal images are never in two parts and the split is the
    same at every seed; u and z are the seed's own. `local_scale` is √v, v = (2/256)²/12 + σ².

    Args:
        path: a folder of image files, subfolders included; or a .npy file of bytes (n, H, W), (n, H, W, C) or
            (n, C, H, W), C of 1 or 3.
        rng: the seed's stream.
        size: pixels a side; the middle square of each image is resized to it. 0 leaves images as they are.
        colour: "grey" or "rgb" converts all, transparent ones over white; "keep" wants them alike.
        valid, test: shares of the images that are held out.
        sigma: standard deviation of the noise z, in units of x.
        extractor: the shipped extractor that FID, KID, precision and recall are taken on, which must be made for
            images of this shape; "none" leaves these metrics out. Inception features: `image-metrics --inception`.

    Raises:
        UsageError: if there are no images, or too few, one cannot be read, sizes or modes are mixed, there are more
            pixels than fit in memory, the extractor takes another shape, or a .npy file is given with size or colour.
    """
    if path.is_file() and (size or MODES[colour]):
        asked = ",".join([f"size={size}"] * bool(size) + [f"colour={colour}"] * bool(MODES[colour]))
        raise UsageError(f"pixels of a .npy file are taken as they are; got [{asked}]: convert them, or give a folder")
    pixels = _array(path) if path.is_file() else _folder(path, size, MODES[colour])
    digests = [hashlib.sha256(image.tobytes()).digest()[:8] for image in pixels]
    parts = {name: pixels[chosen] for name, chosen in hash_split(digests, path.name, valid, test).items()}
    data = image_data(path.name, rng, parts["train"], parts["valid"], parts["test"], sigma=sigma)
    if extractor == "none":
        return data
    _check_extractor(extractor, pixels.shape[1:])
    return replace(data, extractor=extractor)


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder and of its subfolders, hidden ones and links to folders left out, sorted.

    Raises:
        UsageError: if there are none.
    """
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        named = (Path(where, name) for name in files if name.lower().endswith(ENDS) and not name.startswith("."))
        found += [file for file in named if file.is_file()]
    if not found:
        raise UsageError(f"a folder of images must hold one ({', '.join(ENDS)}); '{folder}' holds none")
    return sorted(found)


def _folder(folder: Path, size: int, mode: str) -> Pixels:
    images: list[Pixels] = []
    first, files = "", image_files(folder)
    for file, image in _opened(files):
        name = str(file.relative_to(folder))
        pixels = _pixels(image, name, size, mode)
        first = first or name
        if images and pixels.shape != images[0].shape:
            raise UsageError(
                f"images must be alike; {first} is {_shape(images[0])}, {name} is {_shape(pixels)}: give "
                f"[{'size=32' if pixels.shape[:2] != images[0].shape[:2] else 'colour=rgb'}] after the folder"
            )
        images.append(pixels)
        # all are alike, so the first one tells
        if pixels.nbytes * len(files) > LARGEST:
            raise UsageError(
                f"images may have {LARGEST:.0e} bytes of pixels together; {folder.name} has more: lower size"
            )
    return np.stack(images).transpose(0, 3, 1, 2)


def read_image(file: Path, colour: str) -> Pixels:
    """Bytes (C, H, W) of one image file, its colours converted to "grey" or "rgb".

    Raises:
        UsageError: if it cannot be read, is too large, or has not 8 bits a channel.
    """
    ((_, image),) = _opened([file])
    return np.array(_pixels(image, file.name, 0, MODES[colour]).transpose(2, 0, 1))


def _opened(files: list[Path]) -> Iterator[tuple[Path, Image]]:
    from PIL import Image, ImageOps

    for file in files:
        try:
            with Image.open(require_regular(file, MOST_BYTES)) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise UsageError(
                        f"an image has at most {MOST_PIXELS:.0e} pixels; {file.name} is {image.width}×{image.height}: "
                        "make it smaller, or remove it"
                    )
                _require_one_of_bytes(image, file.name)
                image.load()
                yield file, ImageOps.exif_transpose(image)
        except UsageError:
            raise
        except Exception as error:  # damaged bytes make decoders raise anything
            said = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise UsageError(f"{file.name} cannot be read as an image: {said}; save it again, or remove it") from None


def _require_one_of_bytes(image: Image, name: str) -> None:
    """Refuses what reading would cut down without a word: all pages but the first, the lower half of 16 bits."""
    # in a camera's JPEG the image comes first, and previews or depth after it
    if (pages := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
        raise UsageError(f"a file must hold one image; {name} has {pages}: save each by itself")
    coded = [part for tile in getattr(image, "tile", []) for part in tile]
    if not image.mode.startswith("I") and any(";16" in str(part) for part in coded):
        raise UsageError(f"images must have 8 bits a channel; {name} has 16: save it as 8-bit")


def _pixels(image: Image, name: str, size: int, mode: str) -> Pixels:
    """(H, W, C) bytes of an image: its middle square resized, its colours converted."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        raise UsageError(f"images must have 8 bits a channel; {name} has mode {image.mode}: save it as 8-bit")
    if mode and image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if mode:
        image = image.convert(mode)
    elif image.mode not in ("L", "RGB"):
        raise UsageError(
            f"images must be grey or RGB; {name} has mode {image.mode}: give [colour=rgb] or [colour=grey] after the "
            "folder"
        )
    if size:
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        square = image.crop((left, top, left + side, top + side))
        image = square.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _shape(pixels: Pixels) -> str:
    height, width, channels = pixels.shape
    return f"{width}×{height} {'grey' if channels == 1 else 'RGB'}"


def _array(path: Path) -> Pixels:
    """(n, C, H, W) of a NumPy file, whichever way round its channels are."""
    array = open_array(path)
    if array.dtype != np.uint8:
        raise UsageError(f"pixels of {path.name} must be bytes; got {array.dtype}: save 0 to 255 as .astype('uint8')")
    if array.nbytes > LARGEST:
        raise UsageError(f"images may have {LARGEST:.0e} bytes of pixels together; {path.name} has {array.nbytes:.1e}")
    if array.ndim == 3:
        return np.ascontiguousarray(array[:, None])
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return np.ascontiguousarray(array)
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    raise UsageError(
        f"images are an array (n, H, W), (n, H, W, C) or (n, C, H, W), C of 1 or 3; {path.name} has {array.shape}"
    )


def _check_extractor(extractor: str, event: tuple[int, ...]) -> None:
    about = json.loads((EXTRACTORS / f"{extractor}.json").read_text(encoding="utf-8"))
    made_for = tuple(about["event"])
    if made_for != event:
        raise UsageError(
            f"extractor {extractor} takes images {made_for}; these are {event}: take another, or [extractor=none] and "
            "`image-metrics STORE --inception FILE` later"
        )
