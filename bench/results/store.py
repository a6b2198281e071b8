"""Runs on disk: the intent before, the curve during, the row once and after. Crash-safe; merged by copying folders.

ROOT/<suite>/<objective>/<dataset>/<cell_id>/s<seed>-a<attempt>/
    spec.json     intent, written before the child starts
    curve.jsonl   one line a checkpoint
    log.txt       the child's standard output and error
    row.json      the result, written once; a second try is another attempt
ROOT/env/<env_id>.json            each environment once
ROOT/plans/<suite>-<sha>.json     every planned run: the denominator of every table
ROOT/suites/<suite>.toml          a suite that does not come with the project, to run it again
ROOT/index.json                   every row, plan and environment, so that `verify` misses what is deleted
ROOT/pages.json                   the hashes of tables, plots and pages, which may be deleted at any time
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.common.hosts import is_gone, is_here, this_process
from bench.common.json_files import digest_json, read_json, to_plain, write_json
from bench.common.machine_faults import is_machine_fault
from bench.common.run_spec import RunSpec, SpecReader
from bench.common.spec_writer import SpecWriter
from bench.results.attempt import SCHEMA, UNWRITTEN, now, of_this_version, readable
from bench.results.attempt import Attempt as Attempt
from bench.results.integrity import (
    RESERVED,
    changed,
    changed_files,
    note_pages,
    run_folders,
    run_paths,
    unsealed,
    update_index,
    write_sealed,
)
from bench.results.leases import Leases, is_dead_here, read_lease
from bench.results.row_index import kept_plan

ARTEFACTS = "artefacts.npz"  # what a run may leave in its folder for the pictures
SAMPLES = "samples.npz"  # and for metrics of images, taken later
LOCK = ".lock"
WEIGHTS = "weights.safetensors"  # and, where it was asked to, of its energy


@dataclass(frozen=True)
class Planned:
    """One planned run with its identity, as it stands in a plan; an older version may have made the identity."""

    cell_id: str
    spec: RunSpec

    @classmethod
    def of(cls, spec: RunSpec) -> Planned:
        return cls(spec.cell_id, spec)

    @classmethod
    def all_of(cls, specs: Iterable[RunSpec]) -> list[Planned]:
        """`of` each."""
        writer = SpecWriter()
        return [cls(writer.cell_id(spec), spec) for spec in specs]

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What its folder is found by: suite, objective, data set, cell, seed."""
        return self.spec.suite, self.spec.entry, self.spec.dataset.label, self.cell_id, self.spec.seed


class Store:
    """A folder of runs.

    Raises:
        UsageError: if `root` is a file.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(f"the output path must be a folder; '{self.root}' is a file: give another --out")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the whole store, for what writes rows without a lease on each run.

        Raises:
            UsageError: if another process holds it, or the folder cannot be written to.
        """
        leases = Leases()
        try:
            self.refuse_held()
            if not leases.claim(self.root / LOCK):
                self.refuse_held()
            yield
        finally:
            leases.close()

    def refuse_held(self) -> None:
        """Makes the folder; goes on if nobody holds the whole store.

        Raises:
            UsageError: if another process holds it, or the folder cannot be written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / f".{os.getpid()}.tmp").touch()
            (self.root / f".{os.getpid()}.tmp").unlink(missing_ok=True)
        except OSError as error:
            if is_machine_fault(error):
                raise
            rule = "the output folder must be writable"
            raise UsageError(f"{rule}; '{self.root}': {error.strerror}: give another --out") from None
        holder = read_lease(self.root / LOCK)
        if holder is not None and not is_dead_here(holder):
            held = f"'{self.root}' is held by process {holder['pid']} on {holder['host']}"
            raise UsageError(
                f"nothing else writes to a store that is being restored; {held}: wait, or give another --out; delete "
                f"'{self.root / LOCK}' if that host is gone"
            )

    def lease_of(self, run: Planned) -> Path:
        """The file by which a supervisor holds a run."""
        return self._cell(run) / f".s{run.spec.seed}.lease"

    def begin(self, run: Planned, provenance: Mapping[str, Any] | None = None) -> Attempt:
        """A new attempt, with its intent on disk and this process as its supervisor.

        Raises:
            OSError: if the intent cannot be written; nothing is left of it.
        """
        cell = self._cell(run)
        cell.mkdir(parents=True, exist_ok=True)
        number = 1 + max((Attempt(folder).number for folder in cell.glob(f"s{run.spec.seed}-a*")), default=0)
        attempt = Attempt(cell / f"s{run.spec.seed}-a{number}")
        attempt.folder.mkdir()
        began = now()
        intent = {
            "schema_version": SCHEMA,
            "run_id": f"{re.sub('[^0-9T]', '', began[:26])}-{run.cell_id}-s{run.spec.seed}-a{number}",
            "suite": run.spec.suite,
            "suite_version": run.spec.suite_version,
            "cell_id": run.cell_id,
            "seed": run.spec.seed,
            "attempt": number,
            "spec": run.spec.to_dict(),
            "supervisor": this_process(),
            "provenance": {**(provenance or {}), "began": began},
        }
        try:
            write_json(attempt.folder / "spec.json", intent)
        except OSError:
            attempt.folder.rmdir()
            raise
        return replace(attempt, begun=to_plain(intent))

    def attempts(self) -> list[Attempt]:
        """Every attempt that has an intent."""
        return [Attempt(folder) for folder in run_folders(self.root, "spec.json")]

    def attempts_of(self, run: Planned) -> list[Attempt]:
        """The attempts at one planned run, oldest first."""
        found = (Attempt(path.parent) for path in self._cell(run).glob(f"s{run.spec.seed}-a*/spec.json"))
        return sorted(found, key=lambda attempt: attempt.number)

    def rows_of(self, run: Planned) -> list[Mapping[str, Any]]:
        """The rows of one planned run, oldest first; the last one counts."""
        return [row for attempt in self.attempts_of(run) if (row := attempt.row()) is not None]

    def newest_attempt(self, run: Planned) -> Attempt | None:
        """The attempt whose row counts, if there is one."""
        attempts = [a for a in self.attempts_of(run) if a.row() is not None]
        return attempts[-1] if attempts else None

    def mark_orphans_killed(self, run: Planned | None = None) -> list[dict[str, Any]]:
        """Writes a `killed` row for each attempt whose supervisor is gone; returns those rows.

        An attempt whose intent cannot be read counts for nothing; `verify` names it.

        Args:
            run: the run whose lease the caller holds, so that no other supervisor has an attempt at it; else all whose
                supervisor is known to be gone.
        """
        if run is None:
            open_ones = (path for path in run_paths(self.root, "spec.json") if not os.path.exists(f"{path}/row.json"))
            attempts = [Attempt(Path(path)) for path in open_ones]
        else:
            attempts = self.attempts_of(run)
        unfinished = [a for a in attempts if not (a.folder / "row.json").exists() and readable(a.intent)]
        lost = unfinished if run is not None else [attempt for attempt in unfinished if _is_orphan(attempt)]
        for attempt in lost:
            attempt.set_aside_foreign()
        return [a.finish({"status": "killed", "reason": "the process that supervised it is gone"}) for a in lost]

    def write_plan(self, runs: Iterable[Planned]) -> None:
        """Keeps the planned runs, one file a suite; the newest plan of a suite is not written again.

        Raises:
            OSError: if a file cannot be written.
        """
        suites: dict[str, list[Planned]] = {}
        writer = SpecWriter()
        for run in runs:
            suites.setdefault(run.spec.suite, []).append(run)
        for suite, planned in suites.items():
            path = self.root / "plans" / f"{_slug(suite)}-{writer.digest((p.cell_id, p.spec) for p in planned)}.json"
            if not self._is_newest(path):
                listed = [{"cell_id": run.cell_id, "spec": writer.to_dict(run.spec)} for run in planned]
                write_sealed(path, {"schema_version": SCHEMA, "suite": suite, "created": now(), "runs": listed})
        update_index(self.root)

    def _is_newest(self, path: Path) -> bool:
        """Whether a plan lies there as it was written, and none of its suite is newer."""
        if not path.exists():
            return False
        beside = path.parent.glob(f"{path.stem.rpartition('-')[0]}-*.json")
        try:
            made = {other: kept_plan(self.root, other, partial(_checked_plan, other))[0] for other in beside}
        except UsageError:  # `verify` tells which is damaged
            return False
        return made[path] == max(made.values())

    def planned(self) -> list[Planned]:
        """The union of all plans, the newest first; only its cell where two plan the same seed of the same pair.

        Default and tuned settings, and reference fits, are not the same pair, nor are runs with another network.

        Raises:
            UsageError: if a plan is not what was written, or of a newer version.
        """
        plans = [
            kept_plan(self.root, path, partial(_checked_plan, path))
            for path in sorted((self.root / "plans").glob("*.json"))
        ]
        union: dict[tuple[Any, ...], list[Planned]] = {}
        specs = SpecReader()
        for _, runs in sorted(plans, key=lambda plan: plan[0], reverse=True):
            found: dict[tuple[Any, ...], list[Planned]] = {}
            for cell_id, spec in specs.read(runs):
                run = Planned(cell_id, spec)
                setting = (spec.track, spec.place, spec.tuned, spec.role)
                slot = (*setting, *run.key[:3], spec.objective.ref, spec.seed)
                found.setdefault(slot, []).append(run)
            union |= {slot: runs for slot, runs in found.items() if slot not in union}
        return [run for runs in union.values() for run in runs]

    def keep_environment(self, environment: Mapping[str, Any]) -> str:
        """Writes an environment down if it is new; returns its id."""
        env_id = digest_json(to_plain(environment))
        path = self.root / "env" / f"{env_id}.json"
        if not path.exists():
            write_json(path, environment)
        return env_id

    def environment(self, env_id: str) -> dict[str, Any]:
        return read_json(self.root / "env" / f"{env_id}.json")

    def verify(self) -> list[str]:
        """One line for each file that is not as it was written; none when all is well."""
        return [f"{path}: {how}" for path, how in sorted(changed_files(self.root).items())]

    def note_pages(self, *pages: Path) -> None:
        """Keeps the hashes of pages that were written into the store, for `verify`."""
        note_pages(self.root, pages)

    def keep_suites(self, files: Mapping[str, bytes]) -> None:
        """Keeps the files of suites by name, so that the store says how its runs are made again.

        Raises:
            OSError: if one cannot be written.
        """
        for suite, content in files.items():
            path = self._suite_file(suite)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            self.note_pages(path)

    def suite_reference(self, suite: str) -> str:
        """What `run --suite` takes for a suite: the file that is kept here, else its name."""
        path = self._suite_file(suite)
        return str(path) if path.is_file() else suite

    def update_index(self) -> None:
        """Lists every row, plan and environment, so that `verify` misses what is deleted later."""
        update_index(self.root)

    def _suite_file(self, suite: str) -> Path:
        return self.root / "suites" / f"{_slug(suite)}.toml"

    def cell_of(self, run: Planned) -> str:
        """The folder of a run's cell, within the store."""
        suite, entry, dataset, cell_id, _ = run.key
        if _slug(suite) in RESERVED:
            raise UsageError(f"a suite must not be named {', '.join(sorted(RESERVED))}; got '{suite}'")
        return f"{_slug(suite)}/{_slug(entry)}/{_slug(dataset)}/{cell_id}"

    def _cell(self, run: Planned) -> Path:
        return self.root / self.cell_of(run)


def _checked_plan(path: Path) -> dict[str, Any]:
    plan = unsealed(of_this_version(read_json(path), path), path)
    runs = plan.get("runs")
    if not isinstance(plan.get("created"), str) or not isinstance(runs, list) or not all(map(_is_planned, runs)):
        raise changed(path)
    return plan


def _is_planned(run: Any) -> bool:
    return isinstance(run, dict) and isinstance(run.get("cell_id"), str) and isinstance(run.get("spec"), dict)


def unwritten_row(run: Planned, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a run that could not be written down, in memory alone."""
    about = {"suite": run.spec.suite, "cell_id": run.cell_id, "seed": run.spec.seed, "attempt": None}
    return dict(to_plain({**about, "spec": run.spec.to_dict(), **UNWRITTEN, "provenance": {}, **outcome}))


@functools.lru_cache(maxsize=4096)
def _slug(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", label).strip("-.")[:80] or "unnamed"


def _is_orphan(attempt: Attempt) -> bool:
    """Whether nobody will write an attempt's row any more, as far as this host can tell."""
    intent = attempt.intent()
    holder = read_lease(attempt.folder.parent / f".s{intent['seed']}.lease")
    if holder is not None and not is_dead_here(holder):
        return False
    supervisor = intent["supervisor"]
    if is_here(supervisor):
        return is_gone(supervisor) or supervisor["pid"] == os.getpid()
    if holder is not None:
        return True
    # an older version held no leases: only the deadline can tell
    began = datetime.fromisoformat(intent["provenance"]["began"]).timestamp()
    return time.time() > began + float(intent["spec"].get("timeout_seconds", 0)) + 600
