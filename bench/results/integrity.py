"""Whether the files of a store are as they were written.

A row holds the hashes of the files beside it and of itself, a plan its own; an environment's name is its hash. That
they are gone they cannot tell: `index.json` lists them. `pages.json` has the hashes of tables, plots and pages.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.common.json_files import digest_json, read_json, to_plain, write_json

INDEX = "index.json"
PAGES = "pages.json"
RESERVED = {"env", "plans", "derived", "plots", "suites"}
_DELETED, _CHANGED = "deleted", "changed since it was written"
_IS_TRY = re.compile(r"s\d+-a\d+")
_Found = Iterator[tuple[Path, str]]


def file_digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_beside(folder: Path) -> dict[str, str]:
    """The hashes of a run's files by name, but for its row."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return {name: file_digest(folder / name) for name in names if name != "row.json"}


def row_seal(row: Mapping[str, Any]) -> str:
    """The hash of a row, but for itself."""
    provenance = {k: v for k, v in (row.get("provenance") or {}).items() if k != "row_sha256"}
    return _sha256({**row, "provenance": provenance})


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a value with its hash.

    Raises:
        OSError: if the file cannot be written.
    """
    plain = to_plain(value)
    write_json(path, {**plain, "sha256": _sha256(plain)})


def unsealed(value: dict[str, Any], path: Path) -> dict[str, Any]:
    """The value that a file holds, without its hash; an older version may have written none.

    Raises:
        UsageError: if it is not what was written.
    """
    if value.pop("sha256", None) not in (None, _sha256(value)):
        raise changed(path)
    return value


def changed(path: Path) -> UsageError:
    """The error for a file of a run that is not the one that was written."""
    return UsageError(f"{path} was changed since it was written; restore it, or delete its folder and run it again")


def note_pages(root: Path, pages: Iterable[Path]) -> None:
    """Keeps the hashes of pages that were written into a store.

    Raises:
        OSError: if they cannot be written.
    """
    known = dict(_listed(root / PAGES, {}))
    known |= {path.relative_to(root).as_posix(): file_digest(path) for path in pages}
    write_sealed(root / PAGES, {"files": {name: known[name] for name in sorted(known) if (root / name).exists()}})


def update_index(root: Path) -> None:
    """Adds every row, plan and environment to the list of what a store has.

    Raises:
        OSError: if it cannot be written.
    """
    found = {path.relative_to(root).as_posix() for kind in ("env", "plans") for path in (root / kind).glob("*.json")}
    found |= {f"{within(root, folder)}/row.json" for folder in run_paths(root, "row.json")}
    known = _listed(root / INDEX, [])
    if not known or not found <= set(known):
        write_sealed(root / INDEX, {"files": sorted(found | set(known))})


def run_folders(root: Path, having: str = "") -> list[Path]:
    """The folder of every attempt that has a file of this name, or any."""
    return [Path(path) for path in run_paths(root, having)]


def run_paths(root: Path, having: str = "") -> list[str]:
    """`run_folders` as text, for what looks at each of thousands."""
    cells = [entry.path for entry in _folders(str(root)) if entry.name not in RESERVED]
    for _ in range(3):
        cells = [entry.path for cell in cells for entry in _folders(cell)]
    tries = (entry.path for cell in cells for entry in _folders(cell) if _IS_TRY.fullmatch(entry.name))
    return [path for path in sorted(tries) if not having or os.path.exists(f"{path}/{having}")]


def within(root: Path, folder: str) -> str:
    """A folder of `run_paths` within its root, as `relative_to` says it, for thousands."""
    return folder.removeprefix(str(root)).lstrip("/")


def _folders(path: str) -> list[os.DirEntry[str]]:
    """The folders within one, but for hidden ones and links, which may lead in a circle."""
    try:
        with os.scandir(path) as entries:
            return [e for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def changed_files(root: Path) -> dict[str, str]:
    """What is not as it was written: how, by the file's path within the store."""
    found: dict[str, str] = {}
    for problems in (_lists(root), _runs(root), _environments(root), _plans(root), _pages(root)):
        for path, how in problems:
            found.setdefault(path.relative_to(root).as_posix(), how)
    return found


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _listed(path: Path, otherwise: Any) -> Any:
    """What a list of files says; `otherwise` if it is gone or damaged, which `changed_files` tells."""
    try:
        return unsealed(read_json(path), path)["files"]
    except (UsageError, FileNotFoundError, KeyError):
        return otherwise


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """A file's value and what is wrong with it; a reader would not notice a change in spaces."""
    try:
        value = read_json(path)
    except UsageError:
        return {}, "not readable JSON"
    written = json.dumps(value, indent=1)
    return value, "" if path.read_bytes() == written.encode() else _CHANGED


def _sealed_problem(path: Path) -> str:
    value, wrong = _read(path)
    seal = value.pop("sha256", None)
    return wrong or (_CHANGED if seal not in (None, _sha256(value)) else "")


def _lists(root: Path) -> _Found:
    for path in (root / INDEX, root / PAGES):
        if path.exists() and (wrong := _sealed_problem(path)):
            yield path, wrong
    sealed = any(_read(path)[0].get("sha256") for path in (root / "plans").glob("*.json"))
    if not (root / INDEX).exists() and sealed:
        yield root / INDEX, _DELETED
    if (root / INDEX).exists() and not (root / PAGES).exists() and any(root.glob("*.csv")):
        yield root / PAGES, "deleted, or never written beside the tables; `table` writes it again"
    for name in _listed(root / INDEX, []):
        if not (root / name).exists():
            yield root / name, _DELETED


def _runs(root: Path) -> _Found:
    for folder in run_folders(root, "spec.json"):
        if not (folder / "row.json").exists() and (wrong := _read(folder / "spec.json")[1]):
            yield folder / "spec.json", wrong
    for folder in run_folders(root, "row.json"):
        row, wrong = _read(folder / "row.json")
        provenance = row.get("provenance") or {}
        if wrong or provenance.get("row_sha256") != row_seal(row):
            yield folder / "row.json", wrong or _CHANGED
            continue
        yield from _files_of_run(folder, row, provenance)


def _files_of_run(folder: Path, row: Mapping[str, Any], provenance: Mapping[str, Any]) -> _Found:
    found = files_beside(folder)
    older = {name: provenance.get(f"{name.partition('.')[0]}_sha256") for name in ("curve.jsonl", "log.txt")}
    written = provenance.get("files_sha256") or older
    for name, sha in written.items():
        if sha != found.get(name):
            yield folder / name, _CHANGED if name in found else _DELETED
    if "files_sha256" in provenance:
        yield from ((folder / name, "added since the row was written") for name in found.keys() - written.keys())
    elif "spec.json" not in found:
        yield folder / "spec.json", _DELETED
    else:
        intent, wrong = _read(folder / "spec.json")
        if wrong or any(row.get(k) != v for k, v in identity(intent).items()):
            yield folder / "spec.json", wrong or _CHANGED


def identity(intent: Mapping[str, Any]) -> dict[str, Any]:
    """Whose row it will be: what a row takes from its intent as it stands."""
    return {k: v for k, v in intent.items() if k not in ("supervisor", "provenance")}


def _environments(root: Path) -> _Found:
    for path in sorted((root / "env").glob("*.json")):
        value, wrong = _read(path)
        if wrong or digest_json(value) != path.stem:
            yield path, wrong or _CHANGED


def _plans(root: Path) -> _Found:
    for path in sorted((root / "plans").glob("*.json")):
        wrong = _sealed_problem(path)
        if wrong or digest_json(_read(path)[0].get("runs")) != path.stem.rpartition("-")[2]:
            yield path, wrong or _CHANGED


def _pages(root: Path) -> _Found:
    for name, sha in dict(_listed(root / PAGES, {})).items():
        path = root / name
        if not path.exists() or file_digest(path) != sha:
            yield (
                path,
                f"{_CHANGED if path.exists() else _DELETED}; the command that wrote it makes it again",
            )
