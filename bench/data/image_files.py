"""Images in the formats in which people have them: idx, CIFAR's pickles, a zip or a folder of JPEG files."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bench.common.errors import UsageError
from bench.data.image_data import Pixels

IDX_IMAGES, IDX_LABELS = 2051, 2049  # unsigned bytes in three dimensions, in one
TORN = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


def read_idx(path: Path, sha256: str) -> Pixels:
    """Images (n, H, W) or labels (n,) of an idx file, gzipped or not.

    Args:
        sha256: of the file before gzip; another set in the same format must not pass for this one.

    Raises:
        UsageError: if the file is torn, is not an idx file of bytes, or is not the one with that sha256.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except TORN as error:
        raise _broken(path, str(error)) from None
    magic = int.from_bytes(raw[:4], "big")
    if magic not in (IDX_IMAGES, IDX_LABELS):
        raise _broken(path, f"an idx file begins with {IDX_IMAGES} or {IDX_LABELS}; this begins with {magic}")
    header = 4 + 4 * (magic % 256)
    shape = [int.from_bytes(raw[k : k + 4], "big") for k in range(4, header, 4)]
    if len(raw) != header + math.prod(shape):
        raise _broken(path, f"it announces {header + math.prod(shape)} bytes and has {len(raw)}")
    _require(path, "sha256", sha256, hashlib.sha256(raw).hexdigest())
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def read_cifar(path: Path, archive_md5: str, batches: Mapping[str, str]) -> dict[str, Pixels]:
    """Images (n, 3, 32, 32) of each of CIFAR's batches, by its name.

    Nothing is extracted, and nothing is unpickled before its checksum is known to be right.

    Args:
        path: the tar.gz archive, or a folder of batches.
        archive_md5: of the archive.
        batches: the md5 of each batch by its name.

    Raises:
        UsageError: if a batch is missing, torn, or not the one with that md5.
    """
    try:
        if path.is_dir():
            found = {name: (path / name).read_bytes() for name in batches if (path / name).is_file()}
        else:
            with path.open("rb") as file:
                _require(path, "md5", archive_md5, hashlib.file_digest(file, "md5").hexdigest())
            found = _members(path, {f"cifar-10-batches-py/{name}": name for name in batches})
    except TORN as error:
        raise _broken(path, str(error)) from None
    for name, md5 in batches.items():
        if name not in found:
            raise _broken(path, f"it lacks {name}")
        _require(path / name, "md5", md5, hashlib.md5(found[name]).hexdigest())
    return {name: _batch(path / name, found[name]) for name in batches}


def _members(path: Path, wanted: Mapping[str, str]) -> dict[str, bytes]:
    """The contents of the wanted regular files of an archive, wherever its other members would like to be written."""
    found = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() and member.name in wanted else None
            if content is not None:
                found[wanted[member.name]] = content.read()
    return found


class _ArraysOnly(pickle.Unpickler):
    """Reads numpy arrays in plain containers; a pickle that names anything else is not run."""

    def find_class(self, module: str, name: str) -> Any:
        array = {"_reconstruct": np.zeros(0).__reduce__()[0], "ndarray": np.ndarray, "dtype": np.dtype}
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") and name in array:
            return array[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")


def _batch(path: Path, pickled: bytes) -> Pixels:
    try:
        batch = _ArraysOnly(io.BytesIO(pickled), encoding="bytes").load()
        data = batch[b"data"]
        if data.dtype != np.uint8 or data.shape[1:] != (3 * 32 * 32,):
            raise _broken(path, f"data must be bytes (n, 3072); they are {data.dtype} {data.shape}")
    except UsageError:
        raise
    except Exception as error:  # bytes that are no such pickle can raise anything
        raise _broken(path, str(error)) from None
    images: Pixels = data.reshape(-1, 3, 32, 32)
    return images


def read_photographs(path: Path, names: Iterable[str], *, size: tuple[int, int], crop: int, side: int) -> Pixels:
    """JPEG photographs (n, 3, side, side): the middle crop×crop pixels, resized with antialiasing.

    Args:
        path: a folder of photographs, or a zip of one, which is read in place.
        names: the files, in the order wanted.
        size: (width, height) that every photograph must have.

    Raises:
        UsageError: if one is missing, torn, or of another size.
    """
    from PIL import Image

    left, top = ((n - crop) // 2 for n in size)
    images = []
    with _opened(path) as read:
        for name in names:
            try:
                with Image.open(io.BytesIO(read(name)), formats=["JPEG"]) as image:
                    if image.size != size:
                        found = f"{image.width}×{image.height}"
                        raise _broken(path / name, f"it must be {size[0]}×{size[1]} pixels; it is {found}")
                    middle = image.convert("RGB").crop((left, top, left + crop, top + crop))
            except (KeyError, FileNotFoundError):
                raise _broken(path, f"it lacks {name}") from None
            except (*TORN, Image.DecompressionBombError) as error:
                raise _broken(path / name, str(error)) from None
            images.append(np.asarray(middle.resize((side, side), Image.Resampling.BILINEAR)))
    return np.stack(images).transpose(0, 3, 1, 2)


@contextmanager
def _opened(path: Path) -> Iterator[Callable[[str], bytes]]:
    """A function from a file's name to its bytes, in a folder or, wherever it lies there, in a zip."""
    if path.is_dir():
        yield lambda name: (path / name).read_bytes()
        return
    try:
        archive = zipfile.ZipFile(path)
    except TORN as error:
        raise _broken(path, str(error)) from None
    with archive:
        members = {PurePosixPath(member).name: member for member in archive.namelist()}
        yield lambda name: archive.read(members[name])


def _require(path: Path, kind: str, expected: str, found: str) -> None:
    if found != expected:
        raise _broken(path, f"its {kind} must be {expected}; it is {found}")


def _broken(path: Path, reason: str) -> UsageError:
    return UsageError(f"{path} is not the file that it should be: {reason}; fetch it again")
