"""What this machine, or the part of it that this process may use, has."""

from __future__ import annotations

import functools
from contextlib import suppress
from pathlib import Path

_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


@functools.cache
def machine_memory() -> int:
    """Bytes of memory: the machine's, or those that a control group leaves to this process."""
    import psutil

    return min([int(psutil.virtual_memory().total), *_limits_of_groups()])


def _limits_of_groups() -> list[int]:
    """The limits of the control groups that this process is in, where they have any."""
    found: list[int] = []
    root = Path("/sys/fs/cgroup")
    own = Path()
    with suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        own = Path(next((line.split(":", 2)[2] for line in lines if line.startswith("0::")), "/").lstrip("/"))
    for folder in (root / own, *(root / own).parents):
        for name in _CGROUP_LIMITS if folder == root else _CGROUP_LIMITS[:1]:
            with suppress(OSError, ValueError):
                found.append(int((folder / name).read_text(encoding="utf-8")))
        if folder == root:
            break
    return found
