"""NumPy arrays in files of somebody's own, looked at before anything is read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from bench.common.errors import UsageError
from bench.common.regular_files import require_regular

LARGEST = 8_000_000_000  # bytes of a file; nothing is read before its header is known


def open_array(path: Path) -> np.ndarray:
    """The array of a .npy file, mapped and not read, so that a header cannot ask for memory that the file lacks.

    Raises:
        UsageError: if it is not a regular file that holds one array of plain numbers.
    """
    require_regular(path, LARGEST)
    try:
        with path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise ValueError("it does not begin as such a file does")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header makes NumPy raise anything
        said = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise UsageError(f"{path.name} cannot be read as .npy: {said}; save it again") from None
    if not isinstance(array, np.ndarray) or math.prod(array.shape) * array.itemsize != array.nbytes:
        raise UsageError(f"{path.name} cannot be read as .npy: its header does not fit it; save it again")
    return array
