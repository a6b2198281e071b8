"""Images as data sets: pixels of files to dequantised examples, and the pixels that come with the project."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.common.errors import UsageError
from bench.common.paths import DATASET_FILES
from bench.core.data_types import Data
from bench.core.rng import Rng

DIGESTS = DATASET_FILES / "digests.json"
Pixels = NDArray[np.uint8]
Arrays = Mapping[str, NDArray[Any]]


def image_data(
    name: str,
    rng: Rng,
    train: Pixels,
    valid: Pixels,
    test: Pixels,
    *,
    sigma: float = 0.0,
    levels: int = 256,
) -> Data:
    """x = 2 (pixel + u) / levels - 1 + σz, u ~ U[0, 1) and z ~ N(0, 1) in each pixel.

    Only u and z depend on the seed, and they are drawn once an image. Since they are independent of the pixel, a local
    covariance is that of the pixels plus v · I, v = (2 / levels)² / 12 + σ², and it is just v in a direction in which
    the pixels do not vary, such as those at the rim: `local_scale` is √v.

    Args:
        train, valid, test: whole numbers 0 <= pixel < levels, (n, C, H, W).
        sigma: standard deviation of the noise z, in units of x.

    Raises:
        UsageError: if pixels are not whole numbers in that range, or the images of another shape.
    """
    for split, part in (("train", train), ("valid", valid), ("test", test)):
        _check_pixels(f"{split} of {name}", part, train.shape[1:], levels)

    def dequantise(part: Pixels) -> tuple[Tensor, Tensor]:
        pixels = torch.tensor(np.ascontiguousarray(part))
        u = rng.uniform((*rng.batch_shape(len(part)), *part.shape[1:]))
        x = 2 * (pixels.to(u) + u) / levels - 1
        return x, x + sigma * rng.normal_like(x) if sigma > 0 else x

    # the test set is drawn first, so that the sizes of the others do not disturb it
    (clean_test, drawn_test), (clean_valid, drawn_valid), (_, drawn_train) = map(dequantise, (test, valid, train))
    return Data(
        name,
        drawn_train,
        drawn_valid,
        drawn_test,
        local_scale=math.sqrt((2 / levels) ** 2 / 12 + sigma**2),
        value_range=(-1.0, 1.0),
        noise=sigma,
        levels=levels if sigma == 0 else None,
        whole_valid=clean_valid if sigma > 0 else None,
        whole_test=clean_test if sigma > 0 else None,
        content=content(train, valid, test),
    )


def _check_pixels(name: str, part: Pixels, event: tuple[int, ...], levels: int) -> None:
    """Holds images to what `image_data` dequantises.

    Raises:
        UsageError: if they are something else: other numbers would be scaled without a word.
    """
    if not np.issubdtype(part.dtype, np.integer):
        raise UsageError(
            f"pixels of {name} must be whole numbers from 0 to {levels - 1}; got {part.dtype}: of numbers from 0 to 1 "
            f"take (x * {levels - 1}).round().astype('uint8')"
        )
    if part.ndim != 4 or part.shape[1:] != event:
        raise UsageError(f"images of {name} must be (n, C, H, W), alike in every split; got {part.shape}")
    if part.size and not 0 <= int(part.min()) <= int(part.max()) < levels:
        raise UsageError(
            f"pixels of {name} must lie from 0 to {levels - 1}; these from {part.min()} to {part.max()}: scale them, "
            "or give levels="
        )


def content(*images: Pixels | Tensor) -> str:
    """The hash of images, their shapes and types, 16 digits: what a number depends on beside the code."""
    return _sha256({str(k): np.ascontiguousarray(image) for k, image in enumerate(images)})[:16]


def embedded(name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file that comes with the project, such as `train_images` (n, H, W, ...) and `train_labels` (n,).

    Raises:
        UsageError: if the decompressed arrays are not those that the project was released with.
    """
    path = DATASET_FILES / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise UsageError(f"{path} is not readable ({error}); restore it with git checkout") from None
    if _sha256(arrays) != json.loads(DIGESTS.read_text(encoding="utf-8")).get(name):
        raise UsageError(f"{path} does not have the sha256 of {DIGESTS.name}; restore both with git checkout")
    return arrays


def embed(name: str, arrays: Arrays) -> Path:
    """Writes what `embedded` reads, and its sha256; the same arrays give the same file."""
    DATASET_FILES.mkdir(parents=True, exist_ok=True)
    path = DATASET_FILES / f"{name}.npz"
    # LZMA takes three quarters of what deflate takes; numpy reads either
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        for key, array in sorted(arrays.items()):
            # one date for all, so that the same arrays give the same file
            info = zipfile.ZipInfo(f"{key}.npy")
            info.compress_type = zipfile.ZIP_LZMA
            packed = io.BytesIO()
            np.lib.format.write_array(packed, np.ascontiguousarray(array), allow_pickle=False)
            file.writestr(info, packed.getvalue())
    known = json.loads(DIGESTS.read_text(encoding="utf-8")) if DIGESTS.exists() else {}
    known[name] = _sha256(arrays)
    DIGESTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return path


def _sha256(arrays: Arrays) -> str:
    """Of every array's name, type, shape and bytes, in the order of the names."""
    total = hashlib.sha256()
    for key, array in sorted(arrays.items()):
        total.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
