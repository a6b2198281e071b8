"""Images in the formats in which people have them: idx, CIFAR's pickles, a zip or a folder of JPEG files."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import math
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bench.common.errors import UsageError
from bench.common.regular_files import is_regular, require_regular
from bench.data.image_data import Pixels

IDX_IMAGES, IDX_LABELS = 2051, 2049  # unsigned bytes in three dimensions, in one
MOST_IDX = 200_000_000  # bytes of an idx file, unpacked; MNIST has 47 million
MOST_ARCHIVE = 400_000_000  # bytes of CIFAR's archive, packed and unpacked; it has 186 million
MOST_BATCH = 64_000_000  # bytes of one of its batches; each has 31 million
MOST_ZIP = 4_000_000_000  # bytes of a zip of photographs, which is not read whole
MOST_MEMBERS = 100_000  # files in it
MOST_PHOTOGRAPH = 32_000_000  # bytes of a JPEG file
# RuntimeError: a zip with a password; NotImplementedError: one packed by an unknown method; the rest is what damaged
# headers make readers stumble over
TORN = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, RuntimeError),
    *(NotImplementedError, ValueError, OverflowError, SyntaxError, IndexError, struct.error),
)


def read_idx(path: Path, sha256: str) -> Pixels:
    """Images (n, H, W) or labels (n,) of an idx file, gzipped or not.

    Args:
        sha256: of the file before gzip; another set in the same format must not pass for this one.

    Raises:
        UsageError: if the file is torn, is not an idx file of bytes, or is not the one with that sha256.
    """
    require_regular(path, MOST_IDX)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(16)
            magic = int.from_bytes(raw[:4], "big")
            if magic not in (IDX_IMAGES, IDX_LABELS):
                raise _broken(path, f"an idx file begins with {IDX_IMAGES} or {IDX_LABELS}; this begins with {magic}")
            header = 4 + 4 * (magic % 256)
            shape = [int.from_bytes(raw[k : k + 4], "big") for k in range(4, header, 4)]
            announced = header + math.prod(shape)
            if announced > MOST_IDX:
                raise _broken(path, f"it may have at most {MOST_IDX} bytes; it announces {announced}")
            # one byte more than it announces, whatever it unpacks to
            raw += file.read(announced + 1 - len(raw))
    except UsageError:
        raise
    except TORN as error:
        raise _broken(path, _said(error)) from None
    if len(raw) != announced:
        has = len(raw) if len(raw) < announced else "more"
        raise _broken(path, f"it announces {announced} bytes and has {has}")
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
            files = {name: path / name for name in batches if is_regular(path / name)}
            found = {name: require_regular(file, MOST_BATCH).read_bytes() for name, file in files.items()}
        else:
            with require_regular(path, MOST_ARCHIVE).open("rb") as file:
                _require(path, "md5", archive_md5, hashlib.file_digest(file, "md5").hexdigest())
            found = _members(path, {f"cifar-10-batches-py/{name}": name for name in batches})
    except UsageError:
        raise
    except TORN as error:
        raise _broken(path, _said(error)) from None
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
            # to go on to the next one unpacks it
            if member.size > MOST_BATCH or member.offset_data + member.size > MOST_ARCHIVE:
                raise _broken(path, f"{member.name[:80]!r} in it announces {member.size} bytes, more than a batch has")
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
            except UsageError:
                raise
            except (*TORN, Image.DecompressionBombError) as error:
                raise _broken(path / name, _said(error)) from None
            images.append(np.asarray(middle.resize((side, side), Image.Resampling.BILINEAR)))
    return np.stack(images).transpose(0, 3, 1, 2)


@contextmanager
def _opened(path: Path) -> Iterator[Callable[[str], bytes]]:
    """A function from a file's name to its bytes, in a folder or, wherever it lies there, in a zip."""
    if path.is_dir():
        yield lambda name: _in_folder(path / name)
        return
    try:
        archive = zipfile.ZipFile(require_regular(path, MOST_ZIP))
    except UsageError:
        raise
    except TORN as error:
        raise _broken(path, _said(error)) from None
    with archive:
        if len(archive.filelist) > MOST_MEMBERS:
            raise _broken(path, f"it may have at most {MOST_MEMBERS} files; it has {len(archive.filelist)}")
        members = {PurePosixPath(member.filename).name: member for member in archive.infolist()}
        yield lambda name: _in_zip(archive, members[name])


def _in_folder(file: Path) -> bytes:
    if not file.exists():
        raise FileNotFoundError(file)
    return require_regular(file, MOST_PHOTOGRAPH).read_bytes()


def _in_zip(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member's content, unpacked no further than a photograph can be long."""
    if member.file_size > MOST_PHOTOGRAPH:
        raise ValueError(f"it announces {member.file_size} bytes; a photograph has at most {MOST_PHOTOGRAPH}")
    with archive.open(member) as file:
        return file.read(MOST_PHOTOGRAPH)


def _require(path: Path, kind: str, expected: str, found: str) -> None:
    if found != expected:
        raise _broken(path, f"its {kind} must be {expected}; it is {found}")


def _said(error: Exception) -> str:
    """An exception's first line; its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _broken(path: Path, reason: str) -> UsageError:
    return UsageError(f"{path} is not the file that it should be: {reason}; fetch it again")
