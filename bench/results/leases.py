"""Leases on runs, for supervisors that share a folder and nothing else: no process ids, clocks or locks across hosts.

A lease is a small file that appears whole or not at all, by a link, which every shared file system makes only once. Its
holder touches it; where nobody has for `seconds`, by the clock of the one who watches, it is taken over. Of several who
want to take it over, the one who makes the next `.takeover` file does.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.common.hosts import is_gone, is_here, this_process

SECONDS = "EBM_BENCH_LEASE_SECONDS"
STALE = 180.0  # seconds without a sign of life; attributes of shared files may be a minute old
BEATS = 9  # signs of life in that time
_living: set[str] = set()
_seen: dict[Path, tuple[object, float]] = {}  # what a lease looked like, and since when by this process's clock


class Leases:
    """The leases that one supervisor holds, and what it has seen of others'.

    Args:
        seconds: without a sign of life after which a lease is anybody's; by default what the environment says.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = float(os.environ.get(SECONDS) or STALE) if seconds is None else seconds
        self.token = uuid.uuid4().hex
        self._held: set[Path] = set()
        self._lost: set[Path] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._beating: threading.Thread | None = None
        _living.add(self.token)

    def claim(self, path: Path) -> bool:
        """Takes a lease that nobody holds, or whose holder has given no sign of life for too long.

        Raises:
            OSError: if it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        temporary.write_text(json.dumps({"token": self.token, **this_process()}), encoding="utf-8")
        try:
            if not _link(temporary, path):
                holder = read_lease(path)
                if not self._is_stale(path, holder) or not self._may_take(path, holder):
                    return False
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if not self.holds(path):
            return False
        with self._lock:
            self._held.add(path)
            self._lost.discard(path)
            _seen.pop(path, None)
            if self._beating is None:
                self._beating = threading.Thread(target=self._beat, daemon=True)
                self._beating.start()
        return True

    def holds(self, path: Path) -> bool:
        """Whether a lease is still this supervisor's; a host that slept may have lost it."""
        return (read_lease(path) or {}).get("token") == self.token

    def lost(self, path: Path) -> bool:
        """Whether another has taken a lease over, as of the last sign of life; reads no file."""
        return path in self._lost

    def release(self, path: Path) -> None:
        """Lets go of a lease."""
        with self._lock:
            self._held.discard(path)
        with suppress(OSError):
            if self.holds(path):
                for guard in path.parent.glob(f"{path.name}.*.takeover"):
                    guard.unlink(missing_ok=True)
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets go of everything."""
        self._stopped.set()
        for path in list(self._held):
            self.release(path)
        _living.discard(self.token)

    def _beat(self) -> None:
        while not self._stopped.wait(self.seconds / BEATS):
            for path in list(self._held):
                with suppress(OSError):
                    if self.holds(path):
                        os.utime(path)
                    elif path in self._held:
                        self._lost.add(path)

    def _is_stale(self, path: Path, holder: Mapping[str, Any] | None) -> bool:
        if holder is not None and is_dead_here(holder):
            return True
        try:
            mark = (holder, path.stat().st_mtime_ns, len(_guards(path, holder)))
        except FileNotFoundError:
            return False  # let go just now; the next try gets it
        seen, since = _seen.get(path, (None, 0.0))
        if mark != seen:
            _seen[path] = mark, time.monotonic()
            return False
        return time.monotonic() - since > self.seconds

    def _may_take(self, path: Path, holder: Mapping[str, Any] | None) -> bool:
        """Whether this supervisor is the first to take a lease over; one that dies of it leaves the next number."""
        guard = path.with_name(f"{path.name}.{_name(holder)}-{len(_guards(path, holder))}.takeover")
        try:
            os.close(os.open(guard, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            return False
        return read_lease(path) == holder


def read_lease(path: Path) -> dict[str, Any] | None:
    """Whose a lease is; None if there is none, or it cannot be read."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) and "token" in holder else None


def is_dead_here(holder: Mapping[str, Any]) -> bool:
    """Whether a holder was a process of this host that has ended, or a supervision of this process that is over."""
    if not is_here(holder):
        return False
    return is_gone(holder) or (holder["pid"] == os.getpid() and holder["token"] not in _living)


def _name(holder: Mapping[str, Any] | None) -> str:
    return str(holder["token"]) if holder else "unreadable"


def _guards(path: Path, holder: Mapping[str, Any] | None) -> list[Path]:
    return list(path.parent.glob(f"{path.name}.{_name(holder)}-*.takeover"))


def _link(source: Path, target: Path) -> bool:
    """Gives a whole file a name, unless there is one of that name already."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES):
            raise
        # a file system without links; the file is empty for a moment, which reads as held by nobody known
        try:
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as file:
            file.write(source.read_bytes())
    return True
