"""Which process this is, among those of all hosts that share a folder."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """What tells this process from all others: id, start, host, and where its id means anything."""
    import psutil

    return {
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "host": socket.gethostname(),
        "place": this_place(),
    }


def this_place() -> str:
    """Where process ids mean the same: a host since it was started, or a container with processes of its own."""
    return f"{socket.gethostname()} {_boot()} {_process_ids()}"


def is_here(process: Mapping[str, Any]) -> bool:
    """Whether a process' id can be looked up here."""
    return bool(process["host"] == socket.gethostname() and process.get("place", this_place()) == this_place())


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether a process that was here has ended."""
    import psutil

    try:
        found = psutil.Process(process["pid"])
        # a process id is used again; one that began at another time is another process
        another = abs(found.create_time() - process["started"]) > 5
        return another or bool(found.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@functools.cache
def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()[:8]
    return ""


def _process_ids() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""
