"""Tiny files in the formats in which people keep data sets."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]
BATCHES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")


def md5(raw: bytes) -> str:
    return hashlib.md5(raw).hexdigest()


def idx(array: Bytes) -> bytes:
    """An idx file of unsigned bytes."""
    return struct.pack(f">{1 + array.ndim}I", 2048 + array.ndim, *array.shape) + array.tobytes()


class _Python2(pickle._Pickler):  # type: ignore[name-defined]
    """Writes what Python 2 wrote, as CIFAR's batches are: byte strings, and numpy under its old name."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, text: str | bytes) -> None:
        raw = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(text)

    def save_global(self, thing: Any, name: str | None = None) -> None:
        module = thing.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{thing.__name__}\n".encode())
        self.memoize(thing)

    dispatch[str] = dispatch[bytes] = save_string
    dispatch[type] = dispatch[type(idx)] = save_global


def batch(images: Bytes) -> bytes:
    """A batch of CIFAR's "python version": images (n, 3, 32, 32) under `data`, and the rest of its keys."""
    file = io.BytesIO()
    n = len(images)
    content = {"batch_label": "tiny", "labels": [0] * n, "data": images.reshape(n, -1), "filenames": ["a.png"] * n}
    _Python2(file, 2).dump(content)
    return file.getvalue()


def archived(path: Path, contents: Mapping[str, bytes]) -> Path:
    """A tar.gz of regular files."""
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


def jpeg(image: Bytes) -> bytes:
    """An image (H, W, 3) as JPEG, nearly without loss."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=100, subsampling=0)
    return file.getvalue()
