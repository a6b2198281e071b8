"""Progress of a suite for a person: a live bar on a terminal, a line per run elsewhere; how many runs at once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.common.run_spec import RunSpec
from bench.results.store import Planned

if TYPE_CHECKING:
    from rich.console import Console

    from bench.runner.executor import Event


WORKER = "bench.runner.single_run:work"


def duration(seconds: float) -> str:
    """Seconds as a person says them: "41 s", "12 min", "1 h 40 min"."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def show_progress(total: int) -> Iterator[Event]:
    """The event handler that shows the progress of `total` runs on standard error."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with live_progress(total, console) as on_event:
            yield on_event
    else:
        yield LineProgress()


class _Pace:
    """How long the remaining runs will take at the pace of those that this process has made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._fresh = 0

    def left(self, row: dict[str, Any], remaining: int) -> str:
        """The time left after another run has ended."""
        self._fresh += row["status"] != "skipped"
        return duration((time.monotonic() - self._began) / max(self._fresh, 1) * remaining)


class LineProgress:
    """One line for each finished run, with the time left."""

    def __init__(self) -> None:
        self._pace = _Pace()
        self._waits = False

    def __call__(self, kind: str, spec: RunSpec, row: dict[str, Any] | None, done: int, total: int) -> None:
        if kind == "held" and not self._waits:
            self._waits = True
            print(f"[{done}/{total}] waiting for runs that another supervisor of this store holds", file=sys.stderr)
        if kind == "start" or row is None:
            return
        if kind == "kept":
            if done == total:
                print(f"[{done}/{total}] all runs are completed already", file=sys.stderr)
            return
        left = self._pace.left(row, total - done) if done < total else "done"
        print(f"[{done}/{total}] {_run_name(spec)}: {_outcome(row)}   (left: {left})", file=sys.stderr, flush=True)


@contextmanager
def live_progress(total: int, console: Console) -> Iterator[Event]:
    """A bar with the number of runs done, the cells that are running and the time left; a failed run adds a line."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    running = TextColumn(
        "{task.fields[running]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
    )
    left = TextColumn("left: {task.fields[left]}")
    bar = Progress(MofNCompleteColumn(), BarColumn(20), left, running, console=console, expand=True)
    task = bar.add_task("", total=total, left="unknown", running="")
    pace, started = _Pace(), dict[str, str]()

    def on_event(kind: str, spec: RunSpec, row: dict[str, Any] | None, done: int, total: int) -> None:
        if kind == "start":
            started[_run_name(spec)] = _cell_name(spec)
        if kind == "done" and row is not None:
            started.pop(_run_name(spec), None)
            bar.update(task, left=pace.left(row, total - done))
            if row["status"] not in ("ok", "skipped"):
                bar.console.print(f"{_run_name(spec)}: {_outcome(row)}", markup=False, highlight=False)
        bar.update(task, completed=done, running="; ".join(dict.fromkeys(started.values())))

    with bar:
        yield on_event


def workers(specs: Sequence[RunSpec]) -> int:
    """One run a core that this process may use; one at a time where runs would share a GPU."""
    return 1 if any(spec.device.startswith("cuda") for spec in specs) else len(os.sched_getaffinity(0))


def stackable(run: Planned, *, asked: bool = False) -> bool:
    """Whether the seeds of a run's cell may train together: somebody asks for it, and they take the same steps."""
    spec = run.spec
    if spec.network.plain:
        return False
    return (asked or spec.batch_seeds) and spec.network.name != "convolutional"


def _cell_name(spec: RunSpec) -> str:
    return f"{spec.objective.label} · {spec.dataset.label}"


def _run_name(spec: RunSpec) -> str:
    return f"{_cell_name(spec)} · seed {spec.seed}"


def _outcome(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    trained = row["time"].get("train_wall")
    said = "tuned" if trained is None else f"{trained:.1f} s"
    value = row["metrics"].get("kl", {}).get("best", {}).get("value")
    return said if value is None else f"KL {value:.3g}, {said}"
