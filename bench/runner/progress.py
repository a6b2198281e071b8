"""Progress of a suite for a person: live lines on a terminal, a line per run and a minute elsewhere; runs at once."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.duration import duration
from bench.common.errors import UsageError
from bench.common.gpus import visible_gpus
from bench.common.run_spec import RunSpec
from bench.results.store import Attempt, Planned, Store
from bench.training import heartbeat

if TYPE_CHECKING:
    from rich.console import Console

    from bench.runner.executor import Event


WORKER = "bench.runner.single_run:work"


@contextmanager
def show_progress(total: int, store: Store | None = None, *, every: float = 60.0) -> Iterator[Event]:
    """The event handler that shows the progress of `total` runs on standard error, those in training included.

    Args:
        store: where runs in training say how far they are; None shows only which begin and end.
        every: seconds between two lines of a run in training, where standard error is no terminal.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with live_progress(total, console, store) as on_event:
            yield on_event
    else:
        with line_progress(store, every) as on_event:
            yield on_event


class _Pace:
    """How long the remaining runs will take at the pace of those that this process has made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._fresh = 0

    def left(self, row: Mapping[str, Any], remaining: int) -> str:
        """The time left after another run has ended."""
        self._fresh += row["status"] != "skipped"
        return duration((time.monotonic() - self._began) / max(self._fresh, 1) * remaining)


class Running:
    """The runs that have begun and not ended, and how far each cell of them says that it is."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._begun: dict[str, tuple[RunSpec, float, Path | None]] = {}
        self._known = threading.Lock()

    def note(self, kind: str, spec: RunSpec) -> None:
        """Takes in one event of the executor's."""
        with self._known:
            if kind == "start":
                attempts = self._store.attempts_of(Planned.of(spec)) if self._store else []
                folder = attempts[-1].folder if attempts else None
                self._begun[_run_name(spec)] = spec, time.monotonic(), folder
            elif kind == "done":
                self._begun.pop(_run_name(spec), None)

    def lines(self) -> list[str]:
        """A line a cell: its seeds, the share of training that is done, step, loss, last KL or NLL, time left."""
        cells: dict[str, list[tuple[RunSpec, float, Path | None]]] = {}
        with self._known:
            for run in self._begun.values():
                cells.setdefault(_cell_name(run[0]), []).append(run)
        return [f"{name} · {_seeds([spec for spec, *_ in runs])}: {_state(runs)}" for name, runs in cells.items()]


def _seeds(specs: Sequence[RunSpec]) -> str:
    return f"seed {specs[0].seed}" if len(specs) == 1 else f"{len(specs)} seeds"


def _state(runs: Sequence[tuple[RunSpec, float, Path | None]]) -> str:
    """How far the first run of a cell is that says so."""
    for _, began, folder in runs:
        news = heartbeat.read(folder) if folder else None
        if news is None or folder is None:
            continue
        gone, share = time.monotonic() - began, news["share"]
        left = [f"{duration(gone / share * (1 - share))} left"] if share > 0 else []
        return ", ".join(
            [f"{share:.0%} trained", f"step {news['step']}", f"loss {news['loss']:.3g}", *_last_value(folder), *left]
        )
    return "setting up, or evaluating"


def _last_value(folder: Path) -> list[str]:
    """What the newest checkpoint says of the averaged weights, in nats: the KL divergence, else the validation NLL."""
    try:
        line = (Attempt(folder).curve() or [{}])[-1]
    except UsageError:  # the reader of the row says so
        return []
    values = ((name, line.get(key)) for name, key in (("KL", "kl_ema"), ("NLL", "valid_nll_ema")))
    return next(([f"{name} {value:.3g}"] for name, value in values if value is not None), [])


@contextmanager
def line_progress(store: Store | None, every: float) -> Iterator[LineProgress]:
    """Lines of finished runs, and of those in training every so many seconds."""
    progress, over = LineProgress(store), threading.Event()

    def remind() -> None:
        while not over.wait(every):
            for line in progress.running.lines():
                print(line, file=sys.stderr, flush=True)

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield progress
    finally:
        over.set()
        reminder.join()


class LineProgress:
    """One line for each finished run, with the time left."""

    def __init__(self, store: Store | None = None) -> None:
        self._pace, self.running = _Pace(), Running(store)
        self._waits = False

    def __call__(self, kind: str, spec: RunSpec, row: Mapping[str, Any] | None, done: int, total: int) -> None:
        self.running.note(kind, spec)
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
def live_progress(total: int, console: Console, store: Store | None = None) -> Iterator[Event]:
    """A bar with the number of runs done and the time left, a line for each running cell; a failed run adds a line."""
    from rich.console import RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.text import Text

    pace, running = _Pace(), Running(store)
    shown: list[str] = []

    class Lines(Progress):
        """The bar, and below it the running cells, looked at again once a second."""

        looked = 0.0

        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            if time.monotonic() > self.looked + 1:
                shown[:], self.looked = running.lines(), time.monotonic()
            yield from (Text(f"  {line}", no_wrap=True, overflow="ellipsis") for line in shown)

    bar = Lines(MofNCompleteColumn(), BarColumn(20), TextColumn("left: {task.fields[left]}"), console=console)
    task = bar.add_task("", total=total, left="unknown")

    def on_event(kind: str, spec: RunSpec, row: Mapping[str, Any] | None, done: int, total: int) -> None:
        running.note(kind, spec)
        bar.looked = 0.0
        if kind == "done" and row is not None:
            bar.update(task, left=pace.left(row, total - done))
            if row["status"] not in ("ok", "skipped"):
                bar.console.print(f"{_run_name(spec)}: {_outcome(row)}", markup=False, highlight=False)
        bar.update(task, completed=done)

    with bar:
        yield on_event


def workers(specs: Sequence[RunSpec]) -> int:
    """One run a core that this process may use, or one a GPU."""
    on_gpu = any(spec.device.startswith("cuda") for spec in specs)
    return max(1, len(visible_gpus())) if on_gpu else len(os.sched_getaffinity(0))


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


def _outcome(row: Mapping[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    trained = row["time"].get("train_wall")
    said = "tuned" if trained is None else f"{trained:.1f} s"
    value = row["metrics"].get("kl", {}).get("best", {}).get("value")
    return said if value is None else f"KL {value:.3g}, {said}"
