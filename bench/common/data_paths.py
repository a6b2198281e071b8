"""Data sets that are given by the path of their file or folder, and the code that reads them."""

from __future__ import annotations

from pathlib import Path

from bench.common.paths import USER_IMAGES, USER_POINTS, expanded
from bench.common.references import POINTS
from bench.common.regular_files import is_regular


def names_data_path(name: str) -> bool:
    """Whether a data set is given as a file of points or of images, or as a folder of images."""
    if name.lower().endswith(POINTS):
        return True
    try:
        return ("/" in name or name in (".", "..")) and expanded(Path(name)).is_dir()
    except OSError:  # no file can have such a name
        return False


def reader_of(path: Path) -> Path:
    """The file of the code that reads a data set given by path: that of images for a folder and an array of images."""
    return USER_IMAGES if path.is_dir() or _dimensions(path) > 2 else USER_POINTS


def _dimensions(path: Path) -> int:
    """Of the array in a .npy file; 0 if there is none, whose reader says what is wrong."""
    import numpy as np

    if path.suffix.lower() != ".npy" or not is_regular(path):
        return 0
    try:
        return int(np.load(path, mmap_mode="r", allow_pickle=False).ndim)
    except Exception:  # a damaged header makes NumPy raise anything
        return 0
