"""Checkpoints of unfinished runs on disk: whole or absent, with a checksum, the newest two; gone with the row.

CELL/.checkpoint-<digest of the runs>/
    runs.json          whose they are: one run, or the seeds of a stack
    <step>.checkpoint  a line of JSON (format, identity, step, length, sha256), then the state
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.common.json_files import digest_json, read_json, to_plain, write_json, write_whole

FORMAT = 1
KEPT = 2
PREFIX = ".checkpoint-"
Run = tuple[str, int]
"""A run within its cell's folder: its cell's id and its seed."""


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one run, or of runs that train together.

    Attributes:
        path: the folder, which need not exist.
        identity: what must be the same for one to be used: the runs, the device, the version of torch.
    """

    path: Path
    identity: Mapping[str, Any]

    @classmethod
    def of(cls, cell: Path, runs: Sequence[Run], **about: str) -> CheckpointFolder:
        """The folder in a cell's own."""
        listed = [list(run) for run in runs]
        return cls(cell / f"{PREFIX}{digest_json(listed)}", {"runs": listed, **about})

    def write(self, step: int, state: bytes) -> None:
        """Adds a checkpoint and deletes all but the newest `KEPT`.

        Raises:
            OSError: if it cannot be written; the earlier ones are still there.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "runs.json").exists():
            write_json(self.path / "runs.json", {"runs": self.identity["runs"]})
        about = {"format": FORMAT, "identity": self.identity, "step": step, "bytes": len(state)}
        header = json.dumps(to_plain({**about, "sha256": hashlib.sha256(state).hexdigest()})).encode()
        write_whole(self.path / f"{step:012d}.checkpoint", header + b"\n" + state)
        for old in self._newest_first()[KEPT:]:
            old.unlink(missing_ok=True)

    def read(self) -> Iterator[tuple[int, bytes, str]]:
        """Each checkpoint, newest first: its step, its state, and why it is not to be used, "" if it is."""
        for path in self._newest_first():
            step, state, wrong = _read(path, self.identity)
            yield step, state, f"{path.name} {wrong}" if wrong else ""

    def exists(self) -> bool:
        """Whether there is any."""
        return bool(self._newest_first())

    def _newest_first(self) -> list[Path]:
        return sorted(self.path.glob("[0-9]*.checkpoint"), reverse=True)


def delete_checkpoints(cell: Path, run: Run) -> None:
    """Deletes what is kept of a run that has ended, and of stacks that it was in."""
    for folder in cell.glob(f"{PREFIX}*"):
        with suppress(OSError, UsageError):
            if list(run) in read_json(folder / "runs.json")["runs"]:
                shutil.rmtree(folder)


def _read(path: Path, identity: Mapping[str, Any]) -> tuple[int, bytes, str]:
    try:
        first, _, state = path.read_bytes().partition(b"\n")
        about = json.loads(first)
        if about["format"] != FORMAT:
            return 0, b"", f"is of format {about['format']}; this version reads {FORMAT}"
        if about["identity"] != to_plain(identity):
            theirs, ours = about["identity"], to_plain(identity)
            other = next(key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key))
            return 0, b"", f"is of another run: its {other} is {theirs.get(other)}, not {ours.get(other)}"
        if len(state) != about["bytes"]:
            return 0, b"", f"is torn: it has {len(state)} of {about['bytes']} bytes"
        if hashlib.sha256(state).hexdigest() != about["sha256"]:
            return 0, b"", "was changed since it was written: its checksum differs"
        return int(about["step"]), state, ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return 0, b"", f"cannot be read ({type(error).__name__})"
