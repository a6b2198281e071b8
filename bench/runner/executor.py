"""One supervised child process per run: a run that is killed, hangs or runs out of memory costs only itself.

Seeds of one cell may share a child as a stack; then it costs only them, and what was killed is next tried alone.

joblib hands the runs out, by default to threads of this process; under `joblib.parallel_config` the same function
runs on a cluster (`cluster.py`), whose workers must be allowed children: `dask worker --no-nanny`. Children are
forked from a server that has torch loaded, so that none pays for its import.
"""

from __future__ import annotations

import functools
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from bench.common.git import current_commit, has_changes
from bench.common.gpus import Gpus, visible_gpus
from bench.common.run_spec import RunSpec
from bench.results.checkpoint_files import delete_checkpoints
from bench.results.leases import Leases
from bench.results.row_index import Place
from bench.results.shared_runs import take_over
from bench.results.store import Attempt, Planned, Store, unwritten_row
from bench.runner import child
from bench.runner.code_check import changed_code
from bench.runner.machine import machine_memory
from bench.runner.worker_process import failure

Event = Callable[[str, RunSpec, Mapping[str, Any] | None, int, int], None]
Row = Mapping[str, Any]
FINAL = {"ok", "diverged", "error", "timeout", "oom"}
PAUSE = 5.0  # seconds between two looks at what another supervisor holds
KILLS = 2  # as many kills are put down to the run itself, not to the machine
MEMORY_SHARE = 0.9  # of the machine's memory, divided among the runs at a time, where a suite sets no limit


def execute(
    specs: Sequence[RunSpec],
    store: Store,
    *,
    jobs: int = 1,
    worker: str = "bench.runner.single_run:work",
    on_event: Event | None = None,
    retry: bool = False,
    stack: Callable[[Planned], bool] | None = None,
    stack_worker: str = "bench.runner.stacked_run:work",
    plan: Sequence[RunSpec] | None = None,
) -> list[Row]:
    """Runs what the store lacks; returns the row of every spec, in order.

    What another suite of the store has finished is taken over. Supervisors that share a store share the work: each
    holds a lease on what it runs, and waits at the end for what others hold.

    Rows that are `ok`, `diverged`, `error`, `timeout` or `oom` are kept, and come without their specification;
    `interrupted`, `machine_error` and `killed` runs are tried again, unless a living supervisor has seen the run killed
    twice; `skipped` ones when the reason has changed. A run whose row cannot be written costs only itself: its row is
    returned, and it is run again next time.

    Args:
        jobs: children at a time.
        worker: "module:function", called in the child as (spec, folder, curve); returns the groups of a row.
        on_event: told (kind, spec, row, done, total) of each run "kept", "start" (without a row) and "done".
        retry: tries again everything that is not `ok`.
        stack: whether a run may share a child with other seeds of its cell; None runs every seed alone.
        plan: all runs of the suite, of which these are a part; the denominator of the store's tables.
        stack_worker: called in that child with lists of specs, folders and curves; returns a list of groups.

    Raises:
        UsageError: if the store is being restored by another process or cannot be written to.
        KeyboardInterrupt: on SIGINT, SIGTERM or SIGHUP, once the children are gone and their rows `interrupted`. A
            second signal does not wait for that.
    """
    planned = Planned.all_of(specs)
    supervision = _Supervision(dict(zip((run.key for run in planned), specs, strict=True)), on_event, jobs)
    with _interruptible(supervision):
        store.refuse_held()
        store.mark_orphans_killed()
        store.write_plan(planned if plan is None or plan is specs else Planned.all_of(plan))
        rows: dict[tuple[Any, ...], Row] = {}
        waiting: list[tuple[Planned, int]] = []  # with how many rows there are
        newest = take_over(store, planned, supervision.leases)
        for run in {run.key: run for run in planned}.values():
            kept = newest.get(Place(store.cell_of(run), run.spec.seed))
            earlier = [] if kept is None or kept.known is None else [kept.known]
            if not _is_final(earlier, run, retry=retry):
                earlier = store.rows_of(run)  # how often it was killed
            if _is_final(earlier, run, retry=retry):
                rows[run.key] = earlier[-1]
                supervision.tell("kept", run, earlier[-1])
            else:
                waiting.append((run, len(earlier)))
        workers = worker, stack_worker
        try:
            while waiting and not supervision.stopped:
                for run, row in _one_round(waiting, store, stack, workers, supervision, jobs):
                    if row is not None:
                        rows[run.key] = row
                        supervision.tell("done", run, row)
                waiting = [(run, known) for run, known in waiting if run.key not in rows]
                if waiting and not supervision.stopped:
                    supervision.pause(waiting[0][0])
            for run, row in _alone(list(rows.items()), planned, store, workers, supervision):
                rows[run.key] = row
        finally:
            interrupted = supervision.stopped
            supervision.stop()
            supervision.leases.close()
            with suppress(OSError):  # a full disk; the next run writes it
                store.update_index()
        if interrupted:
            raise KeyboardInterrupt
    return [rows[run.key] for run in planned]


def _alone(
    rows: Sequence[tuple[tuple[Any, ...], Row]],
    planned: Sequence[Planned],
    store: Store,
    workers: tuple[str, str],
    supervision: _Supervision,
) -> Iterator[tuple[Planned, Row]]:
    """Tries what was out of memory beside others once more, with the machine and the GPU to itself."""
    if supervision.jobs <= 1:
        return
    runs, supervision.jobs = {run.key: run for run in planned}, 1
    for key, row in rows:
        if row["status"] != "oom" or row["attempt"] is None or runs[key].spec.memory_gb or supervision.stopped:
            continue
        earlier = store.rows_of(runs[key])
        if sum(each["status"] == "oom" for each in earlier) == 1:
            tried = [(runs[key], len(earlier))]
            yield from ((run, new) for run, new in _one_round(tried, store, None, workers, supervision, 1) if new)


def _one_round(
    waiting: Sequence[tuple[Planned, int]],
    store: Store,
    stack: Callable[[Planned], bool] | None,
    workers: tuple[str, str],
    supervision: _Supervision,
    jobs: int,
) -> Iterator[tuple[Planned, Row | None]]:
    """Every waiting run as it ends, without a row where another supervisor holds it."""
    import joblib

    known = {run.key: n for run, n in waiting}
    parallel = joblib.Parallel(n_jobs=jobs, prefer="threads", batch_size=1, return_as="generator_unordered")
    tasks = (
        joblib.delayed(_supervise)(
            batch, store, workers[len(batch) > 1], supervision, _provenance(), [known[run.key] for run in batch]
        )
        for batch in _seed_batches([run for run, _ in waiting], store, stack)
    )
    for finished in parallel(tasks):
        yield from finished


class _Supervision:
    """What the supervisors in one process share: who is told of progress, and the shutdown signal.

    On a cluster it arrives without either; interrupting there is up to the cluster.
    """

    def __init__(
        self, specs: dict[tuple[Any, ...], RunSpec] | None = None, on_event: Event | None = None, jobs: int = 0
    ) -> None:
        self.jobs, self.leases = jobs, Leases()
        on_gpu = any(spec.device.startswith("cuda") for spec in (specs or {}).values())
        self.gpus = Gpus(visible_gpus() if on_gpu else ())
        self.shutdown_signal, self._shutdown_sender = socket.socketpair()
        self.stopped = False
        self._specs, self._on_event, self._done = specs or {}, on_event, 0
        self._telling = threading.Lock()

    def __reduce__(self) -> tuple[type[_Supervision], tuple[()]]:
        return _Supervision, ()

    def stop(self) -> None:
        """Ends all children; safe in a signal handler."""
        self.stopped = True
        self._shutdown_sender.close()  # the end of file wakes every supervisor at once

    def pause(self, run: Planned) -> None:
        """Waits a little for what another supervisor holds."""
        self.tell("held", run, None)
        wait([self.shutdown_signal], timeout=min(PAUSE, self.leases.seconds / 5))

    def tell(self, kind: str, run: Planned, row: Row | None) -> None:
        if self._on_event is None:
            return
        with self._telling:
            self._done += row is not None
            self._on_event(kind, self._specs[run.key], row, self._done, len(self._specs))


@contextmanager
def _interruptible(supervision: _Supervision) -> Iterator[None]:
    """Turns SIGINT, SIGTERM and SIGHUP into the shutdown signal, so that no row is lost to an exception half-way."""
    import joblib

    shared = getattr(joblib.parallel.get_active_backend(prefer="threads")[0], "supports_sharedmem", False)

    def ring(number: int, frame: types.FrameType | None) -> None:
        if supervision.stopped or not shared:
            raise KeyboardInterrupt
        supervision.stop()

    known = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signals = [s for s in known if signal.getsignal(s) is not signal.SIG_IGN]
    here = threading.current_thread() is threading.main_thread()
    before = {s: signal.signal(s, ring) for s in signals if here}
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def _is_final(rows: list[Row], run: Planned, *, retry: bool) -> bool:
    """Whether the last of a run's rows, oldest first, is left as it is."""
    if not rows:
        return False
    status, skip = rows[-1]["status"], run.spec.skip
    if status == "skipped":
        return bool(rows[-1]["reason"] == skip)
    if status == "ok" or retry:
        return bool(status == "ok")
    kills = sum(row["status"] == "killed" and row["signal"] is not None for row in rows)
    return status in FINAL or (status == "killed" and kills >= KILLS)


def _was_killed(row: Row) -> bool:
    return row["status"] == "oom" or (row["status"] == "killed" and row["signal"] is not None)


def _seed_batches(
    waiting: Sequence[Planned], store: Store, stack: Callable[[Planned], bool] | None
) -> list[list[Planned]]:
    """The runs that share a child, in the order of their first: the seeds of a cell that may be stacked, or one run.

    What a living supervisor has seen killed is tried alone, so that one seed's kills do not count against the others.
    """
    batches: dict[tuple[Any, ...], list[Planned]] = {}
    for run in waiting:
        together = stack is not None and not run.spec.skip and stack(run)
        if together and any(_was_killed(row) for row in store.rows_of(run)):
            together = False
        batches.setdefault((*run.key[:3], run.spec.stack_id) if together else run.key, []).append(run)
    return list(batches.values())


def _supervise(
    batch: Sequence[Planned],
    store: Store,
    worker: str,
    supervision: _Supervision,
    provenance: dict[str, Any],
    known: Sequence[int] | None = None,
) -> list[tuple[Planned, Row | None]]:
    """Runs that share a child, from intent to row; no rows if they were not begun, or are another supervisor's.

    Args:
        known: how many rows of each there were when it was planned; another supervisor may have added one since.
    """
    nothing: list[tuple[Planned, Row | None]] = [(run, None) for run in batch]
    if supervision.stopped:
        return nothing
    leases, held = supervision.leases, list[Path]()
    try:
        for run in batch:
            path = store.lease_of(run)
            if not leases.claim(path):
                return nothing
            held.append(path)
        found = [store.rows_of(run) for run in batch]
        if known is not None and any(len(rows) > n for rows, n in zip(found, known, strict=True)):
            # the others are planned again, without these
            ended = [_is_final(rows, run, retry=False) for rows, run in zip(found, batch, strict=True)]
            if any(ended):
                return [(run, rows[-1] if end else None) for run, rows, end in zip(batch, found, ended, strict=True)]
        for run in batch:
            store.mark_orphans_killed(run)
        attempts = [store.begin(run, provenance) for run in batch]
    except OSError as error:
        return [(run, unwritten_row(run, failure(error))) for run in batch]
    else:
        outcomes = _outcomes_of(batch, attempts, worker, supervision, lambda: any(map(leases.lost, held)))
        return [
            (run, _write_row(run, a, o, store) if leases.holds(path) else None)
            for run, a, o, path in zip(batch, attempts, outcomes, held, strict=True)
        ]
    finally:
        for path in held:
            leases.release(path)
        if not supervision.jobs:  # it came to a worker of a cluster, and ends here
            leases.close()


def _outcomes_of(
    batch: Sequence[Planned],
    attempts: Sequence[Attempt],
    worker: str,
    supervision: _Supervision,
    lost: Callable[[], bool],
) -> list[dict[str, Any]]:
    """What became of runs whose intent is written; whatever it is, other runs go on."""
    if batch[0].spec.skip:
        return [{"status": "skipped", "reason": run.spec.skip} for run in batch]
    for run in batch:
        supervision.tell("start", run, None)
    try:
        # a child imports plug-ins when it starts, or later: code that was edited by its end may be what it ran
        outcomes = _changed(batch) or _outcomes(batch, attempts, worker, supervision, lost)
        return _changed(batch) or outcomes
    except Exception as error:
        return [failure(error) for _ in batch]


def _write_row(run: Planned, attempt: Attempt, outcome: dict[str, Any], store: Store) -> Row:
    """The run's row, on disk unless it cannot be written: a full disk, or a plug-in's own files, cost no other run."""
    try:
        if foreign := attempt.set_aside_foreign():
            names = ", ".join(foreign)
            reason = f"the run wrote {names}, which only the harness writes; renamed to NAME.foreign"
            outcome = {"status": "error", "reason": reason}
        if "env" in outcome:
            # what is the same for many runs is written once; a row keeps what a reader filters by
            outcome["env"] = {"env_id": store.keep_environment(outcome["env"]), **outcome["env"]}
        row = attempt.finish(outcome)
        if row["status"] in FINAL:
            delete_checkpoints(attempt.folder.parent, (run.cell_id, run.spec.seed))
        return row
    except Exception as error:  # whatever it is, the runs beside it go on
        lost = failure(error)
        return unwritten_row(run, {**lost, "reason": f"its row could not be written: {lost['reason']}"})


def _changed(batch: Sequence[Planned]) -> list[dict[str, Any]]:
    """An interruption of each run if code that makes its numbers was edited since it was planned; else empty."""
    file = changed_code(batch[0].spec)
    reason = f"changed since it was planned: {file}; run the command again to plan it with the new code"
    return [{"status": "interrupted", "reason": reason} for _ in batch] if file else []


def _outcomes(
    batch: Sequence[Planned],
    attempts: Sequence[Attempt],
    worker: str,
    supervision: _Supervision,
    lost: Callable[[], bool],
) -> list[dict[str, Any]]:
    """What became of each run, in the groups of a row: what the child says, or why it said nothing."""
    seeds = ", ".join(str(run.spec.seed) for run in batch)
    specs, folders = [run.spec.to_dict() for run in batch], [attempt.folder for attempt in attempts]
    gpus = supervision.gpus if batch[0].spec.device.startswith("cuda") else Gpus(())
    with gpus.one() as gpu:
        limits = replace(_limits(batch, supervision.jobs), gpu=gpu)
        said, sudden = child.watched(specs, folders, worker, supervision.shutdown_signal, limits, lost)
    if said is not None and len(said) == len(batch):
        return said
    if said is not None:
        raise ValueError(f"a worker of {len(batch)} runs must return as many results; it returned {len(said)}")
    if len(batch) > 1:
        sudden["reason"] += f" (a stack of seeds {seeds})"
    return [dict(sudden) for _ in batch]


def _limits(batch: Sequence[Planned], jobs: int) -> child.Limits:
    """What a child of these runs may use: the time of all of them; the memory that they ask for, or a fair share."""
    seconds = sum(float(run.spec.timeout_seconds) for run in batch)
    asked = [run.spec.memory_gb for run in batch if run.spec.memory_gb is not None]
    if asked:
        return child.Limits(seconds, 1e9 * max(asked), " ([limits] memory_gb)")
    if not jobs:  # nobody knows how many share a machine of the cluster
        return child.Limits(seconds)
    share = MEMORY_SHARE * machine_memory() / jobs
    return child.Limits(seconds, share, f", {MEMORY_SHARE:g} of the machine's for {jobs} at a time; [limits] memory_gb")


@functools.cache
def _provenance() -> dict[str, Any]:
    """Which code and which command; the commit is None outside a git checkout."""
    return {
        "git_sha": current_commit(),
        "git_dirty": has_changes(),
        "argv": sys.argv,
    }
