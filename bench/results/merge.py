"""Stores into one: every finished run once, duplicates known by their identity, conflicts named and left out."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError, no_runs
from bench.results.attempt import Attempt
from bench.results.integrity import run_folders, update_index
from bench.results.store import Store

# what two completed runs of one identity may differ in
_OF_THE_TRY = ("run_id", "attempt", "time", "memory", "env", "provenance", "device", "spec")


@dataclass
class Merged:
    """What became of the attempts of the merged stores.

    Attributes:
        added: attempts that were copied.
        duplicates: attempts that the target had, or whose run it had completed with the same numbers.
        superseded: failed tries of runs that are completed in the target.
        conflicts: completed runs of one identity whose numbers differ, in words.
    """

    added: int = 0
    duplicates: int = 0
    superseded: int = 0
    conflicts: list[str] = field(default_factory=list)


def merge(sources: Sequence[Path], target: Path) -> Merged:
    """Copies what a store lacks from others: attempts with their rows, plans, environments and suites.

    Folders appear whole or not at all, so a merge that is stopped is run again. Unfinished attempts are left out.

    Raises:
        UsageError: if a source is no store or holds no runs, or a row is not what was written.
    """
    for source in sources:
        if source.resolve() == target.resolve():
            raise UsageError(f"a store cannot be merged into itself; got '{source}': give another --out")
        Store(source)
        if not run_folders(source, "spec.json"):
            raise no_runs(source)
    store = Store(target)
    merged = Merged()
    with store.lock():
        for source in sources:
            for folder in run_folders(source, "row.json"):
                _take(Attempt(folder), source, target, merged)
            for kind in ("env", "plans", "suites"):
                for path in sorted((source / kind).glob("*")):
                    _copy_file(path, target / kind / path.name)
        update_index(target)
    return merged


def _take(attempt: Attempt, source: Path, target: Path, merged: Merged) -> None:
    row = attempt.row() or {}
    cell = target / attempt.folder.relative_to(source).parent
    there = [(other, found) for other in _tries(cell, row["seed"]) if (found := other.row()) is not None]
    if any(_seal(found) == _seal(row) for _, found in there):
        merged.duplicates += 1
        return
    completed = [(other, found) for other, found in there if found["status"] == "ok"]
    if completed and row["status"] != "ok":
        merged.superseded += 1
        return
    for other, found in completed:
        if differing := _differing(found, row):
            named = f"'{other.folder}' and '{attempt.folder}' differ in {', '.join(differing)}"
            merged.conflicts.append(f"{named}; the first is kept")
        else:
            merged.duplicates += 1
        return
    number = 1 + max((other.number for other in _tries(cell, row["seed"])), default=0)
    _copy_folder(attempt.folder, cell / f"s{row['seed']}-a{number}")
    merged.added += 1


def _tries(cell: Path, seed: int) -> Iterator[Attempt]:
    return (Attempt(folder) for folder in cell.glob(f"s{seed}-a*") if folder.is_dir())


def _seal(row: Mapping[str, Any]) -> str:
    return str((row.get("provenance") or {}).get("row_sha256"))


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The groups in which two rows differ, but for times and places."""
    names = {**one, **other}.keys() - set(_OF_THE_TRY)
    return sorted(name for name in names if one.get(name) != other.get(name))


def _copy_folder(folder: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        shutil.copytree(folder, temporary, symlinks=True)
        temporary.rename(to)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copy_file(path: Path, to: Path) -> None:
    if to.exists() or not path.is_file():
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{uuid.uuid4().hex}.tmp")
    shutil.copyfile(path, temporary)
    temporary.replace(to)
