"""Runs on disk: the intent before, the curve during, the row once and after. Crash-safe; merged by copying folders.

ROOT/<suite>/<objective>/<dataset>/<cell_id>/s<seed>-a<attempt>/
    spec.json     intent, written before the child starts
    curve.jsonl   one line a checkpoint
    log.txt       the child's standard output and error
    row.json      the result, written once; a second try is another attempt
ROOT/env/<env_id>.json            each environment once
ROOT/plans/<suite>-<sha>.json     every planned run: the denominator of every table
ROOT/derived/                     may be deleted at any time
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.common.json_files import digest_json, read_json, to_plain, write_json
from bench.common.run_spec import RunSpec

SCHEMA = 1
ARTEFACTS = "artefacts.npz"  # what a run may leave in its folder for the pictures
SAMPLES = "samples.npz"  # and for metrics of images, taken later
_RESERVED = {"env", "plans", "derived"}
_UNWRITTEN: dict[str, Any] = dict.fromkeys(("status", "reason", "phase", "last_step", "error", "signal"))


@dataclass(frozen=True)
class Planned:
    """One planned run with its identity, as it stands in a plan; an older version may have made the identity."""

    cell_id: str
    spec: RunSpec

    @classmethod
    def of(cls, spec: RunSpec) -> Planned:
        return cls(spec.cell_id, spec)

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What its folder is found by: suite, objective, data set, cell, seed."""
        return self.spec.suite, self.spec.entry, self.spec.dataset.label, self.cell_id, self.spec.seed


@dataclass(frozen=True)
class Attempt:
    """One try at a planned run: a folder.

    Attributes:
        begun: its intent, if this process has written it.
    """

    folder: Path
    begun: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def number(self) -> int:
        return int(self.folder.name.rpartition("-a")[2])

    def intent(self) -> dict[str, Any]:
        return _read(self.folder / "spec.json")

    def row(self) -> dict[str, Any] | None:
        path = self.folder / "row.json"
        return _read(path) if path.exists() else None

    def append(self, point: Mapping[str, Any]) -> None:
        """Adds one line to the curve in one write, so that a kill tears at most the last line."""
        line = json.dumps(to_plain(point), allow_nan=False).encode() + b"\n"
        handle = os.open(self.folder / "curve.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            written = os.write(handle, line)
        finally:
            os.close(handle)
        if written != len(line):
            raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes of a curve's line could be written")

    def curve(self) -> list[dict[str, Any]]:
        """The curve's lines; a torn last one, which has no line end, is left out.

        Raises:
            UsageError: if another line is not a JSON object.
        """
        path = self.folder / "curve.jsonl"
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
        return [_point(line, f"{path}:{k}") for k, line in enumerate(whole.splitlines(), start=1)]

    def set_aside_foreign(self) -> list[str]:
        """Renames what only the harness writes and the run has written all the same; returns the names."""
        good = {
            "row.json": not (self.folder / "row.json").exists(),
            "curve.jsonl": _readable(self.curve),
            "spec.json": not self.begun or (_readable(self.intent) and self.intent() == self.begun),
        }
        wrong = [name for name, is_good in good.items() if not is_good]
        for name in wrong:
            with suppress(FileNotFoundError):
                (self.folder / name).rename(self.folder / f"{name}.foreign")
        if "spec.json" in wrong:
            write_json(self.folder / "spec.json", self.begun)
        return wrong

    def finish(self, outcome: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the row: the intent's identity and spec, the outcome's groups, and the hashes of all files.

        Raises:
            FileExistsError: if the attempt has a row. Rows are never edited.
        """
        if (self.folder / "row.json").exists():
            raise FileExistsError(f"{self.folder} has a row already; a new try is a new attempt")
        intent = self.intent()
        identity = _identity(intent)
        provenance = {**intent["provenance"], "ended": now(), **self._hashes()}
        row = to_plain({**identity, **_UNWRITTEN, **outcome, **identity, "provenance": provenance})
        if row["last_step"] is None:
            row["last_step"] = next((point["step"] for point in reversed(self.curve()) if "step" in point), None)
        row["provenance"]["row_sha256"] = _seal(row)
        write_json(self.folder / "row.json", row)
        return dict(row)

    def problems(self) -> list[str]:
        """What is not as it was when the row was written."""
        try:
            row, _ = self.row(), self.curve()
        except ValueError as error:
            return [str(error)]
        if row is None:
            return []
        written = row.get("provenance") or {}
        found = {**self._hashes(), "row_sha256": _seal({**row, "provenance": written})}
        changed = [name for name, value in found.items() if written.get(name) != value]
        return changed + ["spec"] * any(row.get(k) != v for k, v in _identity(self.intent()).items())

    def _hashes(self) -> dict[str, str | None]:
        files = {"curve_sha256": self.folder / "curve.jsonl", "log_sha256": self.folder / "log.txt"}
        return {k: hashlib.sha256(p.read_bytes()).hexdigest() if p.exists() else None for k, p in files.items()}


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
        """Holds the store for one run; the system lets go when the process ends, however it ends.

        Raises:
            UsageError: if another process holds it, or the folder cannot be written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / ".lock").open("a+", encoding="utf-8")
        except OSError as error:
            rule = "the output folder must be writable"
            raise UsageError(f"{rule}; '{self.root}': {error.strerror}: give another --out") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                held = f"'{self.root}' is held by {file.read().strip()}"
                raise UsageError(f"one run at a time writes to a store; {held}: wait, or give another --out") from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield

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
            "supervisor": _this_process(),
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
        found = sorted(self.root.glob("*/*/*/*/s*-a*/spec.json"))
        return [Attempt(path.parent) for path in found if path.relative_to(self.root).parts[0] not in _RESERVED]

    def attempts_of(self, run: Planned) -> list[Attempt]:
        """The attempts at one planned run, oldest first."""
        found = (Attempt(path.parent) for path in self._cell(run).glob(f"s{run.spec.seed}-a*/spec.json"))
        return sorted(found, key=lambda attempt: attempt.number)

    def rows_of(self, run: Planned) -> list[dict[str, Any]]:
        """The rows of one planned run, oldest first; the last one counts."""
        return [row for attempt in self.attempts_of(run) if (row := attempt.row()) is not None]

    def newest_attempt(self, run: Planned) -> Attempt | None:
        """The attempt whose row counts, if there is one."""
        attempts = [a for a in self.attempts_of(run) if a.row() is not None]
        return attempts[-1] if attempts else None

    def mark_orphans_killed(self) -> list[dict[str, Any]]:
        """Writes a `killed` row for each attempt whose supervisor is gone; needs the lock. Returns those rows."""
        lost = [a for a in self.attempts() if not (a.folder / "row.json").exists() and _supervisor_gone(a.intent())]
        return [a.finish({"status": "killed", "reason": "the process that supervised it is gone"}) for a in lost]

    def write_plan(self, runs: Iterable[Planned]) -> None:
        """Keeps the planned runs, one file a suite; the same plan again only renews its date."""
        suites: dict[str, list[dict[str, Any]]] = {}
        for run in runs:
            suites.setdefault(run.spec.suite, []).append({"cell_id": run.cell_id, "spec": run.spec.to_dict()})
        for suite, listed in suites.items():
            path = self.root / "plans" / f"{_slug(suite)}-{digest_json(to_plain(listed))}.json"
            write_json(path, {"schema_version": SCHEMA, "suite": suite, "created": now(), "runs": listed})

    def planned(self) -> list[Planned]:
        """The union of all plans, the newest first; only its cell where two plan the same seed of the same pair."""
        plans = sorted(map(_read, (self.root / "plans").glob("*.json")), key=lambda plan: str(plan["created"]))
        union: dict[tuple[Any, ...], list[Planned]] = {}
        for plan in reversed(plans):
            found: dict[tuple[Any, ...], list[Planned]] = {}
            for entry in plan["runs"]:
                run = Planned(entry["cell_id"], RunSpec.from_dict(entry["spec"]))
                slot = (run.spec.track, run.spec.place, *run.key[:3], run.spec.objective.ref, run.spec.seed)
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
        """One line for each attempt that is not as it was written; none when all is well."""
        checked = ((attempt.folder.relative_to(self.root), attempt.problems()) for attempt in self.attempts())
        return [f"{folder}: changed since it was written: {', '.join(found)}" for folder, found in checked if found]

    def _cell(self, run: Planned) -> Path:
        suite, entry, dataset, cell_id, _ = run.key
        return self.root / _slug(suite) / _slug(entry) / _slug(dataset) / cell_id


def _read(path: Path) -> dict[str, Any]:
    """The object in a file of a store.

    Raises:
        UsageError: if it is not JSON, or of a newer version, whose fields may mean something else.
    """
    value = read_json(path)
    version = value.get("schema_version", SCHEMA)
    if not isinstance(version, int) or version > SCHEMA:
        raise UsageError(
            f"{path} is of schema {version}; this version reads schema {SCHEMA} or older: update ebm-bench"
        )
    return value


def unwritten_row(run: Planned, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a run that could not be written down, in memory alone."""
    about = {"suite": run.spec.suite, "cell_id": run.cell_id, "seed": run.spec.seed, "attempt": None}
    return dict(to_plain({**about, "spec": run.spec.to_dict(), **_UNWRITTEN, "provenance": {}, **outcome}))


def _point(line: bytes, where: str) -> dict[str, Any]:
    try:
        point = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{where} is not readable JSON ({error}); restore it, or delete its folder") from None
    if not isinstance(point, dict):
        raise UsageError(f"{where} must be a JSON object; got {type(point).__name__}; restore it, or delete its folder")
    return point


def _readable(read: Callable[[], object]) -> bool:
    try:
        read()
    except (UsageError, FileNotFoundError):
        return False
    return True


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds: as text it sorts by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _identity(intent: Mapping[str, Any]) -> dict[str, Any]:
    """Whose row it will be: what a row takes from its intent as it stands."""
    return {k: v for k, v in intent.items() if k not in ("supervisor", "provenance")}


def _seal(row: Mapping[str, Any]) -> str:
    provenance = {k: v for k, v in row["provenance"].items() if k != "row_sha256"}
    return hashlib.sha256(json.dumps({**row, "provenance": provenance}, sort_keys=True).encode()).hexdigest()


def _slug(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", label).strip("-.")[:80] or "unnamed"


def _this_process() -> dict[str, Any]:
    import psutil

    return {"pid": os.getpid(), "started": psutil.Process().create_time(), "host": socket.gethostname()}


def _supervisor_gone(intent: Mapping[str, Any]) -> bool:
    """Whether nobody will write this attempt's row any more; on another host only its deadline can tell."""
    import psutil

    supervisor = intent["supervisor"]
    if supervisor["host"] != socket.gethostname():
        began = datetime.fromisoformat(intent["provenance"]["began"]).timestamp()
        return time.time() > began + float(intent["spec"].get("timeout_seconds", 0)) + 600
    try:
        process = psutil.Process(supervisor["pid"])
        # a process id is used again; one that began at another time is another process
        another = abs(process.create_time() - supervisor["started"]) > 5
        return another or process.pid == os.getpid() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
