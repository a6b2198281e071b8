"""One try at a planned run: a folder, from the intent over the curve to the row."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bench.common.errors import UsageError
from bench.common.json_files import read_json, to_plain, write_json
from bench.results.integrity import changed, file_digest, files_beside, identity, row_seal

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
_CURVE = msgspec.json.Decoder(list[dict[str, Any]])
UNWRITTEN: dict[str, Any] = dict.fromkeys(("status", "reason", "phase", "last_step", "error", "signal"))


@dataclass(frozen=True)
class Attempt:
    """One try at a planned run: a folder.

    Attributes:
        begun: its intent, if this process has written it.
        known: its row, where that was read and checked before.
    """

    folder: Path
    begun: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    known: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def number(self) -> int:
        return int(self.folder.name.rpartition("-a")[2])

    def intent(self) -> dict[str, Any]:
        return _read(self.folder / "spec.json")

    def row(self) -> Mapping[str, Any] | None:
        """The row, None if there is none yet.

        Raises:
            UsageError: if it is not what was written.
        """
        if self.known is not None:
            return self.known
        path = self.folder / "row.json"
        if not path.exists():
            return None
        row = _read(path)
        if (row.get("provenance") or {}).get("row_sha256") != row_seal(row):
            raise changed(path)
        return row

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
            UsageError: if another line is not a JSON object, or the run has ended and the file is not what it left.
        """
        path = self.folder / "curve.jsonl"
        content = path.read_bytes() if path.is_file() else None
        written = self._written(path.name)
        if written is not None and (content is None or hashlib.sha256(content).hexdigest() != written):
            raise changed(path)
        lines = (content or b"").rpartition(b"\n")[0].splitlines()
        with suppress(msgspec.DecodeError):  # which does not say in which line
            points: list[dict[str, Any]] = _CURVE.decode(b"[" + b",".join(lines) + b"]")
            if len(points) == len(lines):
                return points
        return [_point(line, f"{path}:{k}") for k, line in enumerate(lines, start=1)]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays in a file that the run has left, such as `ARTEFACTS`; none if there is no such file.

        Raises:
            UsageError: if the file is not what the run left, or cannot be read.
        """
        import numpy as np

        path = self.checked(name)
        if not path.exists():
            return {}
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
            raise UsageError(
                f"{path} cannot be read ({error}); restore it, or delete its folder and run it again"
            ) from None

    def checked(self, name: str) -> Path:
        """The path of a file of the run, which the run need not have left.

        Raises:
            UsageError: if the row has a hash of it, and it is not what was written.
        """
        path = self.folder / name
        written = self._written(name)
        if written is not None and not (path.exists() and file_digest(path) == written):
            raise changed(path)
        return path

    def _written(self, name: str) -> str | None:
        """The hash of a file that the run has left, as its row has it."""
        sha: str | None = (((self.row() or {}).get("provenance") or {}).get("files_sha256") or {}).get(name)
        return sha

    def set_aside_foreign(self) -> list[str]:
        """Renames what only the harness writes and the run has written all the same; returns the names."""
        good = {
            "row.json": lambda: not (self.folder / "row.json").exists(),
            "curve.jsonl": lambda: readable(self.curve),
            "spec.json": lambda: not self.begun or (readable(self.intent) and self.intent() == self.begun),
        }
        wrong = []
        for name, is_good in good.items():
            if not is_good():
                wrong.append(name)
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
        whose = identity(intent)
        written = files_beside(self.folder)
        # an older version looks for these two alone
        older = {"curve_sha256": written.get("curve.jsonl"), "log_sha256": written.get("log.txt")}
        provenance = {**intent["provenance"], "ended": now(), **older, "files_sha256": written}
        row = to_plain({**whose, **UNWRITTEN, **outcome, **whose, "provenance": provenance})
        if row["last_step"] is None:
            row["last_step"] = next((point["step"] for point in reversed(self.curve()) if "step" in point), None)
        row["provenance"]["row_sha256"] = row_seal(row)
        write_json(self.folder / "row.json", row)
        return dict(row)


def _read(path: Path) -> dict[str, Any]:
    """The object in a file of a store.

    Raises:
        UsageError: if it is not JSON, or of a newer version, whose fields may mean something else.
    """
    return of_this_version(read_json(path), path)


def of_this_version(value: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a file of a store says, unless its version is newer than this one.

    Raises:
        UsageError: if it is.
    """
    version = value.get("schema_version", SCHEMA)
    if not isinstance(version, int) or version > SCHEMA:
        raise UsageError(
            f"{path} is of schema {version}; this version reads schema {SCHEMA} or older: update ebm-bench"
        )
    return value


def _point(line: bytes, where: str) -> dict[str, Any]:
    try:
        point = msgspec.json.decode(line)
    except (ValueError, msgspec.DecodeError) as error:
        raise UsageError(f"{where} is not readable JSON ({error}); restore it, or delete its folder") from None
    if not isinstance(point, dict):
        raise UsageError(f"{where} must be a JSON object; got {type(point).__name__}; restore it, or delete its folder")
    return point


def readable(read: Callable[[], object]) -> bool:
    """Whether a file can be read."""
    try:
        read()
    except (UsageError, FileNotFoundError):
        return False
    return True


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds: as text it sorts by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
