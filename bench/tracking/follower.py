"""Sends the runs of a store: those that are finished, or each as it trains."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.common.json_files import read_json, write_json
from bench.common.run_spec import RunSpec
from bench.results.store import Attempt, Planned, Store
from bench.tracking.tracked_run import Tracker, points, tracked

SENT = ".tracked.json"  # hidden: it is no file of the store's own
EVERY = 5.0  # seconds between two looks at curves


def send_finished(store: Store, tracker: Tracker) -> tuple[int, int]:
    """Sends every finished run that was not sent there before; returns how many were, and how many had been.

    Raises:
        UsageError: if a file of the store was changed, or the place refuses.
    """
    sent = already_sent(store.root)
    known = set(sent.get(tracker.destination, []))
    new = earlier = 0
    try:
        for run in store.planned():
            attempt = store.newest_attempt(run)
            if attempt is None or (attempt.row() or {}).get("status") == "skipped":
                continue
            about = tracked(attempt)
            if about.run_id in known:
                earlier += 1
                continue
            tracker.send(about, points(attempt), last=True)
            known.add(about.run_id)
            _note(store.root, tracker, about.run_id)
            new += 1
    finally:
        tracker.close()
    return new, earlier


def already_sent(root: Path) -> dict[str, list[str]]:
    """The ids of the runs that were sent, by where."""
    with suppress(FileNotFoundError, UsageError):
        return read_json(root / SENT)
    return {}


def _note(root: Path, tracker: Tracker, run_id: str) -> None:
    sent = already_sent(root)
    sent.setdefault(tracker.destination, []).append(run_id)
    write_json(root / SENT, sent)


class Follower:
    """An event handler of the executor's that sends each run's curve as it grows, and then its row.

    A place that fails costs no run: it is said once, and nothing more is sent there.
    """

    def __init__(self, store: Store, tracker: Tracker, *, every: float = EVERY) -> None:
        self.store, self.tracker, self.failure = store, tracker, ""
        self._running: dict[Path, int] = {}  # lines of its curve that were sent
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(every,), daemon=True)
        self._thread.start()

    def __call__(self, kind: str, spec: RunSpec, row: Mapping[str, Any] | None, done: int, total: int) -> None:
        """Takes in one event."""
        attempts = self.store.attempts_of(Planned.of(spec)) if kind in ("start", "done") else []
        if not attempts:
            return
        with self._lock:
            if kind == "start":
                self._running[attempts[-1].folder] = 0
            elif row is not None and row["status"] != "skipped":
                self._send([attempts[-1]], last=True)

    def _watch(self, every: float) -> None:
        while not self._over.wait(every):
            with self._lock:
                self._send([Attempt(folder) for folder in self._running], last=False)

    def _send(self, attempts: Sequence[Attempt], *, last: bool) -> None:
        for attempt in attempts:
            if self.failure:
                return
            try:
                lines = points(attempt, self._running.get(attempt.folder, 0))
                if lines or last:
                    self.tracker.send(about := tracked(attempt), lines, last=last)
                    self._running[attempt.folder] = self._running.get(attempt.folder, 0) + len(lines)
                    if last:
                        self._running.pop(attempt.folder, None)
                        _note(self.store.root, self.tracker, about.run_id)
            except Exception as error:  # whatever the place says, the runs go on
                self.failure = f"{self.tracker.destination}: {type(error).__name__}: {error}"

    def close(self) -> None:
        """No more events come."""
        self._over.set()
        self._thread.join()
        with suppress(Exception):
            self.tracker.close()
