"""One supervised child process per run: a run that is killed, hangs or runs out of memory costs only itself.

joblib hands the runs out, by default to threads of this process; under `joblib.parallel_config` the same function
runs on a cluster (whose workers must be allowed children: Dask's `distributed.worker.daemon: false`). Children are
forked from a server that has torch loaded, so that none pays for its import.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bench.child import main
from bench.store import Attempt, Planned, Spec, Store

Event = Callable[[str, Spec, dict[str, Any] | None, int, int], None]
Row = dict[str, Any]

FINAL = {"ok", "diverged", "error", "timeout", "oom"}
KILLS = 2  # as many kills are put down to the run itself, not to the machine
GRACE = 0.25  # seconds in which an interruption explains a child's sudden end
_starting = threading.Lock()


def execute(
    specs: Sequence[Spec],
    store: Store,
    *,
    jobs: int = 1,
    worker: str = "bench.run:work",
    on_event: Event | None = None,
    retry: bool = False,
) -> list[Row]:
    """Runs what the store lacks; returns the row of every spec, in order.

    Rows that are `ok`, `diverged`, `error`, `timeout` or `oom` are kept; `interrupted` and `killed` runs are tried
    again, unless a living supervisor has seen the run killed twice; `skipped` ones when the reason has changed.

    Args:
        jobs: children at a time.
        worker: "module:function", called in the child as (spec, folder, curve); returns the groups of a row.
        on_event: told (kind, spec, row, done, total) of each run "kept", "start" (without a row) and "done".
        retry: tries again everything that is not `ok`.

    Raises:
        UsageError: if the store is held by another process or cannot be written to.
        KeyboardInterrupt: on SIGINT or SIGTERM, once the children are gone and their rows `interrupted`. A second
            signal does not wait for that.
    """
    import joblib

    planned = [Planned.of(spec) for spec in specs]
    crew = _Crew(dict(zip((run.key for run in planned), specs, strict=True)), on_event)
    with store.lock(), _interruptible(crew):
        store.settle()
        store.write_plan(planned)
        rows: dict[tuple[Any, ...], Row] = {}
        waiting = []
        for run in {run.key: run for run in planned}.values():
            earlier = store.rows_of(run)
            if _settled(earlier, run, retry=retry):
                rows[run.key] = earlier[-1]
                crew.tell("kept", run, earlier[-1])
            else:
                waiting.append(run)
        parallel = joblib.Parallel(n_jobs=jobs, prefer="threads", batch_size=1, return_as="generator_unordered")
        tasks = (joblib.delayed(_supervise)(run, store, worker, crew, _provenance()) for run in waiting)
        try:
            for run, row in parallel(tasks):
                if row is not None:
                    rows[run.key] = row
                    crew.tell("done", run, row)
        finally:
            interrupted = crew.stopped
            crew.stop()
        if interrupted:
            raise KeyboardInterrupt
    return [rows[run.key] for run in planned]


class _Crew:
    """What the supervisors in one process share: who is told of progress, and the bell that sends everybody home.

    On a cluster it arrives without either; interrupting there is up to the cluster.
    """

    def __init__(self, specs: dict[tuple[Any, ...], Spec] | None = None, on_event: Event | None = None) -> None:
        self.bell, self._rope = socket.socketpair()
        self.stopped = False
        self._specs, self._on_event, self._done = specs or {}, on_event, 0
        self._telling = threading.Lock()

    def __reduce__(self) -> tuple[type[_Crew], tuple[()]]:
        return _Crew, ()

    def stop(self) -> None:
        """Ends all children; safe in a signal handler."""
        self.stopped = True
        self._rope.close()  # the bell's end of file wakes every supervisor at once

    def tell(self, kind: str, run: Planned, row: Row | None) -> None:
        if self._on_event is None:
            return
        with self._telling:
            self._done += row is not None
            self._on_event(kind, self._specs[run.key], row, self._done, len(self._specs))


@contextmanager
def _interruptible(crew: _Crew) -> Iterator[None]:
    """Turns SIGINT and SIGTERM into the crew's bell, so that no row is lost to an exception half-way."""
    import joblib

    shared = getattr(joblib.parallel.get_active_backend(prefer="threads")[0], "supports_sharedmem", False)

    def ring(number: int, frame: types.FrameType | None) -> None:
        if crew.stopped or not shared:
            raise KeyboardInterrupt
        crew.stop()

    signals = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is not signal.SIG_IGN]
    here = threading.current_thread() is threading.main_thread()
    before = {s: signal.signal(s, ring) for s in signals if here}
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def _settled(rows: list[Row], run: Planned, *, retry: bool) -> bool:
    """Whether the last of a run's rows, oldest first, is left as it is."""
    if not rows:
        return False
    status, skip = rows[-1]["status"], run.spec.get("skip", "")
    if status == "skipped":
        return bool(rows[-1]["reason"] == skip)
    if status == "ok" or retry:
        return bool(status == "ok")
    kills = sum(row["status"] == "killed" and row["signal"] is not None for row in rows)
    return status in FINAL or (status == "killed" and kills >= KILLS)


def _supervise(
    run: Planned, store: Store, worker: str, crew: _Crew, provenance: dict[str, Any]
) -> tuple[Planned, Row | None]:
    """One run from intent to row; no row if it was not begun."""
    if crew.stopped:
        return run, None
    attempt = store.begin(run, provenance)
    if run.spec.get("skip"):
        return run, attempt.finish({"status": "skipped", "reason": run.spec["skip"]})
    crew.tell("start", run, None)
    outcome = _outcome(run, attempt, worker, crew)
    if "env" in outcome:
        # what is the same for many runs is written once; a row keeps what a reader filters by
        outcome["env"] = {"env_id": store.keep_environment(outcome["env"]), **outcome["env"]}
    return run, attempt.finish(outcome)


def _outcome(run: Planned, attempt: Attempt, worker: str, crew: _Crew) -> dict[str, Any]:
    """What became of the child, in the groups of a row. It is gone on return, whatever happens."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    kills_before = _kernel_kills()
    process = context.Process(target=main, args=(sender, worker, run.spec, str(attempt.folder)), daemon=False)
    try:
        with _bare_start(worker):
            process.start()
    except (OSError, EOFError) as error:
        receiver.close()
        return {"status": "error", "reason": f"no child could be started: {type(error).__name__}: {error}"}
    finally:
        sender.close()
    try:
        with receiver:
            limit = float(run.spec["timeout_seconds"])
            ready = wait([receiver, process.sentinel, crew.bell], timeout=limit)
            result = _receive(receiver)
            if result is not None:
                process.join(timeout=10)  # it has only to exit
                return result
            if not ready:
                return {"status": "timeout", "reason": f"over its limit of {limit:g} s"}
            # a signal to the whole group, or a cluster's SIGTERM, may reach the child before it reaches us
            if wait([crew.bell], timeout=GRACE):
                return {"status": "interrupted", "reason": "interrupted by the user"}
            process.join(timeout=10)
            return _sudden_end(process.exitcode, kernel=_kernel_kills() > kills_before)
    finally:
        with suppress(ProcessLookupError):
            # 255: the server is gone, which says nothing of the child
            if process.pid is not None and process.exitcode in (None, 255):
                os.kill(process.pid, signal.SIGKILL)
        process.join()
        process.close()


def _receive(receiver: Connection) -> dict[str, Any] | None:
    """The child's result, or None if it did not send one."""
    try:
        return dict(json.loads(receiver.recv_bytes())) if receiver.poll() else None
    except (EOFError, OSError):
        return None


def _sudden_end(code: int | None, *, kernel: bool) -> dict[str, Any]:
    if code == 255:
        return {"status": "killed", "reason": "the process that starts children is gone"}
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
    `__main__` guard does not survive; and the libraries that torch loads would open a pool of threads each. The
    server loads what torch would load at a child's first optimiser, most of a second, too.
    """
    with _starting:
        multiprocessing.set_forkserver_preload(["torch", "torch._dynamo", "bench.child", worker.partition(":")[0]])
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
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


@functools.cache
def _provenance() -> dict[str, Any]:
    """Which code and which command; the commit is None outside a git checkout."""

    def git(*command: str) -> str | None:
        with suppress(OSError):
            done = subprocess.run(["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True)
            return done.stdout.strip() if done.returncode == 0 else None
        return None

    changes = git("status", "--porcelain")
    return {
        "git_sha": git("rev-parse", "HEAD"),
        "git_dirty": None if changes is None else bool(changes),
        "argv": sys.argv,
    }
