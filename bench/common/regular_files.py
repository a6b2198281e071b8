"""Files that somebody else wrote: only regular ones are opened, and no more is read than the format can need."""

from __future__ import annotations

import stat
from pathlib import Path

from bench.common.errors import UsageError

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def require_regular(path: Path, most: int) -> Path:
    """The path, if it leads to a regular file that is not too large; a pipe or a device would be read for ever.

    Args:
        most: bytes that it may have.

    Raises:
        UsageError: if it does not.
    """
    try:
        about = path.stat()
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        said = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"a file that is read must exist; {_short(path)}: {said}") from None
    if not stat.S_ISREG(about.st_mode):
        found = _KINDS.get(stat.S_IFMT(about.st_mode), "something else")
        raise UsageError(f"only a regular file is read; {_short(path)} is {found}: copy its content into a file")
    if about.st_size > most:
        raise UsageError(f"{_short(path)} may have at most {most} bytes; it has {about.st_size}: give a part of it")
    return path


def is_regular(path: Path) -> bool:
    """Whether a path leads to a regular file."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _short(path: Path) -> str:
    return repr(str(path))[:200]
