"""The newest row of every run of a store, from one file that may be thrown away.

Rows are thousands of small files, each checked against its hash. What was checked once is kept in SQLite under the age,
size and number of its file, and checked again once one of these differs. So are plans. `verify` reads the files.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.results.attempt import Attempt
from bench.results.integrity import run_paths, within

INDEX_FILE = ".rows.sqlite"
VERSION = 4
_PACKED = ("metrics", "provenance")  # most of a row, which few commands read of every row
_BOUNDS = struct.Struct(">4I")  # where the first part begins, and where each ends
_READ = ("status", "reason", "last_step")  # what nearly all of them read
_Stamp = tuple[int, int, int, int]


class Place(NamedTuple):
    """A run within a store: its cell's folder and its seed."""

    cell: str
    seed: int


def newest_rows(root: Path) -> dict[Place, Attempt]:
    """The attempt whose row counts, of every run that has one; each knows its row, but for the specification.

    Raises:
        UsageError: if a row is not what was written.
    """
    stamps = dict(row_stamps(root))
    known = _known(root)
    fresh: list[tuple[str, _Stamp, bytes]] = []
    found: dict[Place, Attempt] = {}
    for folder, stamp in stamps.items():
        cell, _, name = folder.rpartition("/")
        seed, _, number = name[1:].partition("-a")
        place = Place(cell, int(seed))
        earlier = found.get(place)
        stored = known.get(folder)
        if stored is None or stored[0] != stamp:
            content = packed(Attempt(root / folder).row() or {})
            fresh.append((folder, stamp, content))
        else:
            content = stored[1]
        if earlier is None or earlier.number < int(number):
            found[place] = Attempt(root / folder, known=KeptRow(content))
    if fresh or known.keys() - stamps.keys():
        _keep(root, fresh, known.keys() - stamps.keys())
    return found


def kept_plan(root: Path, path: Path, read: Callable[[], dict[str, Any]]) -> tuple[str, bytes]:
    """When a plan was made, and its runs as JSON; read and checked where the index does not know the file as it is."""
    about = path.stat()
    stamp = about.st_mtime_ns, about.st_size, about.st_ino, about.st_ctime_ns
    name = f"plans/{path.name}"
    stored = _known(root, plans=True).get(name)
    if stored is not None and stored[0] == stamp:
        content = stored[1]
    else:
        plan = read()
        runs = msgspec.json.encode([{"cell_id": run["cell_id"], **run["spec"]} for run in plan["runs"]])
        content = zlib.compress(str(plan["created"]).encode() + b"\n" + runs, 1)
        _keep(root, [(name, stamp, content)], ())
    created, _, runs = zlib.decompress(content).partition(b"\n")
    return created.decode(), runs


def row_stamps(root: Path) -> Iterator[tuple[str, _Stamp]]:
    """Each attempt with a row, by its folder within the store, and what its row's file looks like."""
    for folder in run_paths(root):
        with suppress(FileNotFoundError):
            about = os.stat(f"{folder}/row.json")
            stamp = about.st_mtime_ns, about.st_size, about.st_ino, about.st_ctime_ns
            yield within(root, folder), stamp


def _known(root: Path, *, plans: bool = False) -> dict[str, tuple[_Stamp, bytes]]:
    path = root / INDEX_FILE
    if not path.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
            if file.execute("PRAGMA user_version").fetchone() != (VERSION,):
                return {}
            like = "LIKE" if plans else "NOT LIKE"
            rows = file.execute(
                f"SELECT folder, age, size, number, changed, content FROM rows WHERE folder {like} 'plans/%'"
            )
            return {folder: (tuple(stamp), bytes(content)) for folder, *stamp, content in rows}
    except (sqlite3.Error, OSError):
        return {}


def _keep(root: Path, fresh: Iterable[tuple[str, _Stamp, bytes]], gone: Iterable[str]) -> None:
    """Writes what is new; a store that cannot be written to, or is written by another just now, is read as it is."""
    path = root / INDEX_FILE
    for again in (True, False):
        try:
            with closing(sqlite3.connect(path, timeout=1)) as file, file:
                if file.execute("PRAGMA user_version").fetchone() != (VERSION,):
                    file.execute("DROP TABLE IF EXISTS rows")
                    columns = "folder TEXT PRIMARY KEY, age INT, size INT, number INT, changed INT, content BLOB"
                    file.execute(f"CREATE TABLE rows ({columns})")
                    file.execute(f"PRAGMA user_version = {VERSION}")
                file.executemany("DELETE FROM rows WHERE folder = ?", [(folder,) for folder in gone])
                lines = ((folder, *stamp, content) for folder, stamp, content in fresh)
                file.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)", lines)
            return
        except sqlite3.OperationalError:
            return
        except sqlite3.DatabaseError:  # damaged: it is made again
            if again:
                with suppress(OSError):
                    path.unlink()


def packed(row: Mapping[str, Any]) -> bytes:
    """A row without its specification, which the plan has, in few bytes: bounds, metrics, provenance, the rest."""
    rest = {k: v for k, v in row.items() if k not in ("spec", *_PACKED)}
    parts = [zlib.compress(msgspec.json.encode(part), 1) for part in (*map(row.get, _PACKED), rest)]
    return b"".join([_BOUNDS.pack(*accumulate(map(len, parts), initial=_BOUNDS.size)), *parts])


class KeptRow(Mapping[str, Any]):
    """A row of which most is unpacked each time that it is asked for, so that thousands take little room."""

    __slots__ = ("_content", "_read")

    def __init__(self, content: bytes) -> None:
        self._content = content
        rest = _unpacked(self._part(2))
        self._read = {name: rest[name] for name in _READ if name in rest}

    def __getitem__(self, key: str) -> Any:
        if key in self._read:
            return self._read[key]
        return _unpacked(self._part(_PACKED.index(key))) if key in _PACKED else _unpacked(self._part(2))[key]

    def __iter__(self) -> Iterator[str]:
        return iter((*_PACKED, *_unpacked(self._part(2))))

    def __len__(self) -> int:
        return len(_PACKED) + len(_unpacked(self._part(2)))

    def __bool__(self) -> bool:
        return True  # asked of every row, which need not be unpacked for it

    def metrics_json(self) -> bytes:
        """The metrics as JSON."""
        return zlib.decompress(self._part(0))

    def _part(self, k: int) -> bytes:
        bounds = _BOUNDS.unpack_from(self._content)
        return self._content[bounds[k] : bounds[k + 1]]


@lru_cache(maxsize=4)
def _unpacked(content: bytes) -> Any:
    """A packed part; one row is asked for it several times in a row."""
    return msgspec.json.decode(zlib.decompress(content))
