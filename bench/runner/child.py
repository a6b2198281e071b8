"""A supervised child: started from a server that has torch loaded, watched, and gone with all that it has started."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bench.common.gpus import VISIBLE
from bench.common.machine_faults import MACHINE_ERROR
from bench.runner.control_groups import MemoryGroup
from bench.runner.worker_process import OWN, main

GRACE = 0.25  # seconds in which an interruption explains a child's sudden end
SAVING = 90.0  # seconds that an interrupted child has to write a checkpoint; one that writes none ends at once
TICK = 1.0  # seconds between two looks at the memory and the log
LOG_BYTES = 32 << 20
_MARK = "EBM_BENCH_CHILD"
_PIECE = 3600.0  # seconds of one wait; the system's own limit is 24.8 days
_starting = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        seconds: on the wall.
        memory: bytes of resident memory of it and all that it has started; None for no limit.
        memory_from: where that limit comes from, for the reason of a row.
        gpu: the name of the only GPU that it sees; all are visible where it is empty.
    """

    seconds: float
    memory: float | None = None
    memory_from: str = ""
    gpu: str = ""


def watched(
    specs: Sequence[dict[str, Any]],
    folders: Sequence[Path],
    worker: str,
    shutdown: socket.socket,
    limits: Limits,
    lost: Callable[[], bool] = lambda: False,
) -> tuple[list[dict[str, Any]] | None, dict[str, Any]]:
    """The child's results, or None and what became of it. It is gone on return, whatever happens.

    Args:
        shutdown: readable once the child is to end; it then has the time to write a checkpoint.
        lost: whether the run is no longer this supervisor's.
    """
    kills_before = _kernel_kills()
    mark = uuid.uuid4().hex
    try:
        process, receiver = _start(specs, folders, worker, mark, limits.gpu)
    except (OSError, EOFError) as error:
        return None, {"status": MACHINE_ERROR, "reason": f"no child could be started: {_in_words(error)}"}
    tree = _Tree(process.pid or 0, mark)
    group = None if limits.memory is None else MemoryGroup.around(tree.pid, mark, limits.memory)
    log = folders[0] / "log.txt"
    try:
        with receiver:
            ended, results, over = _await(process, receiver, shutdown, limits, tree, log, lost)
            if results is not None:
                process.join(timeout=10)  # it has only to exit
                return results, {}
            if over:
                return None, over
            # a signal to the whole group, or a cluster's SIGTERM, may reach the child before it reaches us
            if wait([shutdown], timeout=GRACE):
                if not ended:
                    with suppress(ProcessLookupError):
                        os.kill(tree.pid, signal.SIGTERM)
                    wait([process.sentinel], timeout=SAVING)
                return None, {"status": "interrupted", "reason": "interrupted by the user"}
            process.join(timeout=10)
            if group is not None and limits.memory is not None and group.has_killed():
                allowed = f"its memory limit of {limits.memory / 1e9:.3g} GB{limits.memory_from}"
                return None, {"status": "oom", "reason": f"the kernel ended it over {allowed}", "signal": "SIGKILL"}
            return None, _sudden_end(process.exitcode, kernel=_kernel_kills() > kills_before)
    finally:
        with suppress(ProcessLookupError):
            # 255: the server is gone, which says nothing of the child
            if process.pid is not None and process.exitcode in (None, 255):
                os.kill(process.pid, signal.SIGKILL)
        process.join()
        process.close()
        tree.end()
        if group is not None:
            group.remove()
        _cut(log)


@dataclass
class _Tree:
    """A child and all that it has started, which must not outlive it.

    It leads a session of its own, adopts what its descendants leave behind, and gives all of them a mark in their
    environment: a process may leave the session, or lose the mark, or be too short-lived to be seen, but not all three
    without meaning to.
    """

    pid: int
    mark: str
    seen: dict[int, float] = field(default_factory=dict)

    def memory(self) -> int:
        """Bytes of resident memory; what a descendant shares with others is not counted again."""
        import psutil

        try:
            child = psutil.Process(self.pid)
            total = int(child.memory_info().rss)
            started = child.children(recursive=True)
        except psutil.Error:
            return 0
        for process in started:
            with suppress(psutil.Error):
                self.seen[process.pid] = process.create_time()
                about = process.memory_info()
                total += about.rss - about.shared
        return total

    def end(self) -> None:
        """Kills what is left."""
        import psutil

        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid, began in self.seen.items():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.create_time() == began:
                    process.kill()
        mark = f"{_MARK}={self.mark}".encode()
        for entry in os.scandir("/proc") if os.path.isdir("/proc") else ():
            if entry.name.isdigit():
                with suppress(OSError):
                    if mark in Path(entry.path, "environ").read_bytes().split(b"\0"):
                        os.kill(int(entry.name), signal.SIGKILL)


def _await(
    process: multiprocessing.process.BaseProcess,
    receiver: Connection,
    shutdown: socket.socket,
    limits: Limits,
    tree: _Tree,
    log: Path,
    lost: Callable[[], bool],
) -> tuple[bool, list[dict[str, Any]] | None, dict[str, Any]]:
    """Waits for the child's end, its results, the shutdown or a limit: (whether it ended, results, the limit)."""
    deadline = time.monotonic() + limits.seconds
    while True:
        left = deadline - time.monotonic()
        ready = wait([receiver, process.sentinel, shutdown], timeout=max(0.0, min(left, TICK, _PIECE)))
        results = _receive(receiver)
        if ready or results is not None:
            return process.sentinel in ready, results, {}
        used = tree.memory()
        if limits.memory is not None and used > limits.memory:
            allowed = f"its memory limit of {limits.memory / 1e9:.3g} GB{limits.memory_from}"
            return False, None, {"status": "oom", "reason": f"it used {used / 1e9:.3g} GB, over {allowed}"}
        if lost():
            return False, None, {"status": "interrupted", "reason": "another supervisor has taken it over"}
        if time.monotonic() >= deadline:
            return False, None, {"status": "timeout", "reason": f"over its limit of {limits.seconds:g} s"}
        with suppress(OSError):
            if log.stat().st_size > LOG_BYTES:
                os.truncate(log, LOG_BYTES)  # it appends, so what it writes next follows


def _cut(log: Path) -> None:
    """Keeps the beginning of a log that is too long, and says so at its end."""
    with suppress(OSError):
        if log.stat().st_size >= LOG_BYTES:
            os.truncate(log, LOG_BYTES)
            with log.open("a", encoding="utf-8") as file:
                file.write(f"\n[the log was cut at {LOG_BYTES} bytes]\n")


def _start(
    specs: Sequence[dict[str, Any]], folders: Sequence[Path], worker: str, mark: str, gpu: str
) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    """The child, at work, and the end of the pipe through which it sends its results."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    # the server that forks children may be older than what this process has set since
    own = {name: value for name, value in os.environ.items() if name.startswith(OWN)} | {_MARK: mark}
    if gpu:
        own[VISIBLE] = gpu
    arguments = (sender, worker, list(specs), [str(folder) for folder in folders], own)
    process = context.Process(target=main, args=arguments, daemon=False)
    try:
        with _bare_start(worker):
            try:
                process.start()
            except (EOFError, ConnectionError):  # the server that forks has died; a new one is started
                time.sleep(GRACE)
                process.start()
    except BaseException:
        receiver.close()
        raise
    finally:
        sender.close()
    return process, receiver


def _in_words(error: Exception) -> str:
    said = f"{type(error).__name__}: {error}"
    return f"{said}: set TMPDIR to a folder with a shorter name" if "path too long" in said else said


def _receive(receiver: Connection) -> list[dict[str, Any]] | None:
    """The child's results, or None if it did not send them."""
    try:
        return list(json.loads(receiver.recv_bytes())) if receiver.poll() else None
    except (EOFError, OSError):
        return None


def _sudden_end(code: int | None, *, kernel: bool) -> dict[str, Any]:
    if code == 255:
        return {"status": MACHINE_ERROR, "reason": "the fork server exited"}
    if code is None or code >= 0:
        return {"status": "error", "reason": f"the child ended with exit code {code} and without a result"}
    name = signal.Signals(-code).name
    if name == "SIGKILL" and kernel:
        return {"status": "oom", "reason": "killed by the kernel, which had run out of memory", "signal": name}
    return {"status": "killed", "reason": f"the child was killed by {name}", "signal": name}


@contextmanager
def _bare_start(worker: str) -> Iterator[None]:
    """Starts a child that knows nothing of the caller's script, from a server with one thread and torch loaded.

    Without this, multiprocessing would run the caller's main script again in every child, which a script without a
    `__main__` guard does not survive; and the libraries that torch loads would open a pool of threads each.
    """
    with _starting:
        multiprocessing.set_forkserver_preload(["torch", "bench.runner.worker_process", worker.partition(":")[0]])
        script = sys.modules["__main__"]
        single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        before = {name: os.environ.get(name) for name in single}
        sys.modules["__main__"] = types.ModuleType("__main__")
        os.environ.update(single)
        try:
            yield
        finally:
            sys.modules["__main__"] = script
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="utf-8").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
