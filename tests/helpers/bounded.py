"""Runs a function in a child with two seconds of CPU time and a gigabyte more memory; says how it was refused."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

from bench.common.errors import UsageError

SECONDS, MEMORY, WALL = 2, 1 << 30, 30


def refusal(action: Callable[[], object]) -> str:
    """The sentence with which an action was refused; "" if it was not.

    A fault of the action fails the caller: another exception, more than two seconds, a gigabyte, or a wait for ever.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        _act(action, reader, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code == 0, f"ended with {signal.Signals(-code).name if code < 0 else code}: {said}"
    return said


def _act(action: Callable[[], object], reader: int, writer: int) -> None:
    code = 1
    try:
        os.close(reader)
        used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
        size = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, used + SECONDS + 1))
        signal.alarm(WALL)
        try:
            action()
            said, code = "", 0
        except UsageError as error:
            said, code = str(error), 0
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said[:60_000].encode(errors="replace"))
    finally:
        os._exit(code)
