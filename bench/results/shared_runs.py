"""Runs that two suites of a store have in common are made once: what one has finished, the other takes over."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress

from bench.common.errors import UsageError
from bench.results.attempt import Attempt
from bench.results.leases import Leases
from bench.results.row_index import Place, newest_rows
from bench.results.store import Planned, Store

SAME_ANYWHERE = ("ok", "diverged")  # results of the run itself; other ends may be the machine's fault


def take_over(store: Store, runs: Iterable[Planned], leases: Leases) -> dict[Place, Attempt]:
    """Copies into a suite what the same runs have given for another one; returns the newest rows of the store.

    Two runs are the same if all that changes their numbers is: settings, data, code, budget, seed and what is measured.
    The copy says in `provenance.taken_from` which run it is of, and keeps that run's commit, times and environment.
    What was changed since, or cannot be copied, is left to be made anew.
    """
    newest = newest_rows(store.root)
    finished = {
        (place.cell.rpartition("/")[2], place.seed): attempt
        for place, attempt in newest.items()
        if (attempt.known or {}).get("status") in SAME_ANYWHERE
    }
    copied = False
    for run in runs:
        twin = finished.get((run.cell_id, run.spec.seed))
        if twin is None or run.spec.skip or Place(store.cell_of(run), run.spec.seed) in newest:
            continue
        with suppress(UsageError, OSError):  # one run that cannot be taken over must not stop the others
            lease = store.lease_of(run)
            if not leases.claim(lease):
                continue
            try:
                copied |= _copy(store, run, twin)
            finally:
                leases.release(lease)
    return newest_rows(store.root) if copied else newest


def _copy(store: Store, run: Planned, twin: Attempt) -> bool:
    row = Attempt(twin.folder).row() or {}
    if run.spec.save_weights and not row["spec"]["save_weights"]:
        return False
    if store.rows_of(run):  # another supervisor was faster
        return False
    files = [twin.checked(name) for name in row["provenance"].get("files_sha256", {}) if name != "spec.json"]
    attempt = store.begin(run, {**row["provenance"], "taken_from": row["run_id"]})
    for path in files:
        shutil.copy2(path, attempt.folder / path.name)
    attempt.finish({k: v for k, v in row.items() if k != "provenance"})
    return True
