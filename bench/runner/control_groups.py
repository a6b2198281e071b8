"""A control group (v2) of a run's own, in which the kernel itself holds it to its memory, where one can be made.

Where none can, the supervisor's look at resident memory each second is all there is, and is kept beside it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

BASE = "EBM_BENCH_CGROUP"  # a delegated group in which to make others; else the one that this process is in
MOUNTED = Path("/sys/fs/cgroup")
_TRIES, _PAUSE = 20, 0.05  # to remove a group whose last process is just ending, and seconds between them


class MemoryGroup:
    """The group of one child and of all that it starts.

    Attributes:
        path: its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def around(cls, pid: int, name: str, limit: float) -> MemoryGroup | None:
        """A new group of at most `limit` bytes with a process in it; None where the kernel or its owner refuses."""
        base = _base()
        if base is None or not (base / "cgroup.controllers").is_file():
            return None
        group = cls(base / f"ebm-bench-{name}")
        try:
            with suppress(OSError):  # it may be on already, and a group with processes may not switch it on
                (base / "cgroup.subtree_control").write_text("+memory", encoding="utf-8")
            group.path.mkdir()
            _set(group.path / "memory.max", str(int(limit)))
            for file, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                with suppress(OSError):
                    _set(group.path / file, value)
            _set(group.path / "cgroup.procs", str(pid))
        except OSError:
            group.remove()
            return None
        return group

    def has_killed(self) -> bool:
        """Whether the kernel has ended a process of it for its memory."""
        with suppress(OSError, ValueError):
            for line in (self.path / "memory.events").read_text(encoding="utf-8").splitlines():
                name, _, count = line.partition(" ")
                if name in ("oom_kill", "oom_group_kill") and int(count) > 0:
                    return True
        return False

    def remove(self) -> None:
        """Ends what is left in it, and removes it."""
        with suppress(OSError):
            _set(self.path / "cgroup.kill", "1")
        for _ in range(_TRIES):
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(_PAUSE)
            else:
                return


def _set(file: Path, value: str) -> None:
    """Writes into a file of the kernel's, which is there already or is not offered.

    Raises:
        OSError: if it is not, or the value is refused.
    """
    handle = os.open(file, os.O_WRONLY)
    try:
        os.write(handle, value.encode())
    finally:
        os.close(handle)


def _base() -> Path | None:
    if given := os.environ.get(BASE):
        return Path(given)
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                return MOUNTED / line.removeprefix("0::").lstrip("/")
    return None
