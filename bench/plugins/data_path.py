"""Data sets by the path of their file or folder, as plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common.data_paths import reader_of
from bench.common.errors import UsageError
from bench.common.paths import USER_IMAGES, expanded
from bench.common.regular_files import require_regular
from bench.core.data_types import Data
from bench.core.declarations import DatasetInfo
from bench.core.rng import Rng
from bench.data.array_files import LARGEST
from bench.data.user_images import image_files, user_images
from bench.data.user_points import user_points


class PathReader:
    """`user_points` or `user_images` of one path."""

    def __init__(self, path: Path, code: Path) -> None:
        self.path, self.code = path, code
        self.read: Callable[..., Data] = user_images if code == USER_IMAGES else user_points
        self.__doc__ = self.read.__doc__

    def __call__(self, rng: Rng, **values: Any) -> Data:
        return self.read(self.path, rng, **values)


def data_path(name: str) -> tuple[DatasetInfo, PathReader]:
    """What is declared of a data set by path, and what reads it.

    Raises:
        UsageError: if there is no such file, or no image in the folder.
    """
    try:
        path = expanded(Path(name)).resolve()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a name with a NUL byte
        raise UsageError(f"a data set given by path must exist; {name[:200]!r}: {str(error)[:100]}") from None
    if path.is_dir():
        files = tuple(map(str, image_files(path)))
    elif path.is_file():
        files = (str(require_regular(path, LARGEST)),)
    elif path.exists():
        raise UsageError(f"a data set is a folder or a regular file; '{name}' is neither: copy its content into a file")
    else:
        raise UsageError(f"a data set given by path must exist; there is no file '{name}'")
    reader = PathReader(path, reader_of(path))
    kind = "folder" if path.is_dir() else "file"
    fixed = reader.code != USER_IMAGES  # each seed dequantises images with noise of its own
    return DatasetInfo(path.name, f"the {kind} {path.name}", 1, files=files, fixed=fixed), reader
