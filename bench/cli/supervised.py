"""A command in a child of its own: what ends, hangs or crashes it there still ends in a sentence and an exit code."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import re
import signal
import sys
import time
import types
from collections.abc import Callable
from contextlib import suppress

from bench.common.errors import UsageError
from bench.common.exit_codes import FAILED

_DONE = b"."
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
_ASKED = 2.0  # seconds in which a process that hangs says where it is


def supervised(command: str, action: Callable[[], int], limit: float | None) -> int:
    """What the action returns in a child that is a copy of this process; it returns in both.

    Signals that this process gets are passed on; the child does not outlive it.

    Args:
        limit: seconds after which the child is ended; None if it may take as long as it likes.

    Raises:
        UsageError: if the child ended otherwise than by returning, or was not done in time.
    """
    said, ends = os.pipe(), os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        return _act(action, said[1], ends[1])
    os.close(said[1])
    os.close(ends[1])
    before = {s: signal.signal(s, _passing_on(pid)) for s in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the child itself
    try:
        status = _wait(pid, limit)
        if status is None:
            place = _place(pid, ends[0])
            _end_tree(pid)
            raise UsageError(
                f"`{command}` was not done after {limit:g} s and was ended; it was{place}: end what waits or loops "
                "there, or give a longer --time-limit"
            )
        code = os.waitstatus_to_exitcode(status)
        if os.read(said[0], 1) == _DONE:
            return code
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
        for handle in (said[0], ends[0]):
            os.close(handle)
    if code < 0:
        name = signal.Signals(-code).name
        if name in ("SIGTERM", "SIGHUP", "SIGKILL"):
            print(f"bench: `{command}` was ended by {name}", file=sys.stderr)
            return FAILED
        raise UsageError(
            f"a plug-in, or a library that it uses, crashed `{command}` by {name}; run it by itself to see"
        )
    raise UsageError(f"a plug-in must return or raise, not end the program; it ended `{command}` with exit code {code}")


def _act(action: Callable[[], int], said: int, place: int) -> int:
    """The child's side, which ends as any program does."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    faulthandler.register(signal.SIGUSR1, file=place, all_threads=False)
    code = action()
    os.write(said, _DONE)
    return code


def _passing_on(pid: int) -> Callable[[int, types.FrameType | None], None]:
    def pass_on(number: int, frame: types.FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    return pass_on


def _wait(pid: int, limit: float | None) -> int | None:
    """The child's status, None if it is not done in time."""
    if limit is None:
        return os.waitpid(pid, 0)[1]
    deadline, pause = time.monotonic() + limit, 0.005
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(pause)
        pause = min(0.1, 1.5 * pause)
    return None


def _place(pid: int, handle: int) -> str:
    """Where a child is, in the file that called last; "" if it does not say."""
    os.set_blocking(handle, False)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
    deadline, text = time.monotonic() + _ASKED, ""
    while time.monotonic() < deadline and "\n" not in text[-1:]:
        with suppress(BlockingIOError):
            text += os.read(handle, 1 << 16).decode(errors="replace")
        time.sleep(0.05)
    frames = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', text)
    own = [frame for frame in frames if "/lib/python" not in frame[0] and "/bench/" not in frame[0]] or frames
    return f" in {own[0][2]} ({own[0][0]}, line {own[0][1]})" if own else " in a library that says nothing"


def _end_tree(pid: int) -> None:
    import psutil

    with suppress(psutil.Error):
        child = psutil.Process(pid)
        for process in [*child.children(recursive=True), child]:
            with suppress(psutil.Error):
                process.kill()
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
