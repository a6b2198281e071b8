"""A trial in a child of its own: what ends, stops or never lets go of a process must not do so to this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from typing import NoReturn

from bench.common.errors import UsageError

LIMIT = 30.0  # seconds that importing a plug-in may take, its libraries included
_LONGEST = 2000  # characters of a reason; a pipe takes as many at once
_RAISED, _LET = b"!", b"."


def trial(action: Callable[[], object], limit: float | None = None) -> str:
    """What went wrong when a child did the action; "" if nothing did.

    The child is a copy of this process, so that it costs milliseconds. What it prints is lost, and it has no input.

    Args:
        limit: seconds after which it is ended.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # the child runs on one thread, whatever others there are here
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        _act(action, writer)
    os.close(writer)
    limit = LIMIT if limit is None else limit
    try:
        ready = wait([reader], timeout=limit)
        said = os.read(reader, 8 * _LONGEST) if ready else b""
    finally:
        os.close(reader)
        code = _ended(pid)
    if said:
        return said[1:].decode(errors="replace")
    return _sudden_end(code) if ready else f"it was not done after {limit:g} s, and was ended"


def is_supervised() -> bool:
    """Whether this process is itself a child that somebody watches, such as that of a run."""
    return multiprocessing.parent_process() is not None


def _act(action: Callable[[], object], writer: int) -> NoReturn:
    """The child's side."""
    try:
        os.setsid()  # what it starts is ended with it
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)  # the other threads did not come along
        try:
            action()
            said = _LET
        except BaseException as error:
            words = str(error) if isinstance(error, UsageError) else f"it raised {type(error).__name__} {error}".strip()
            said = _RAISED + words[:_LONGEST].encode(errors="replace")
        os.write(writer, said)
    finally:
        os._exit(0)


def _ended(pid: int) -> int:
    """Kills the child and what it has started; returns the code that it had ended with, if it had."""
    done, status = os.waitpid(pid, os.WNOHANG)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if not done:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _sudden_end(code: int) -> str:
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended the process with exit code {code}"
