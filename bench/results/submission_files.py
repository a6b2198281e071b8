"""A submission on disk: a folder with an objective's file, its rows, and `submission.json`, which has their hashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec

from bench.common.errors import UsageError
from bench.common.json_files import write_json
from bench.results.committed_rows import read_rows
from bench.results.records import Record

ABOUT, ROWS, TUNING, ENVIRONMENTS = "submission.json", "rows.csv", "tuning.csv", "environments.json"
FOLDER = "submissions"  # of a folder of results


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `submission.json` says.

    Attributes:
        objective: the name of its file; label: the entry's in the rows.
        code: the hash of what that file means.
        commits: of the project that made the rows.
        files: the sha256 of every other file by its name.
        status: "submitted", or "verified" once a maintainer has run every row again, at `verified_at`.
    """

    name: str
    suite: str
    protocol: int
    objective: str
    label: str
    code: str
    commits: tuple[str, ...]
    packed: str
    files: dict[str, str]
    status: Literal["submitted", "verified"] = "submitted"
    verified_at: str = ""


def read_submission(folder: Path) -> Submission:
    """What a submission says of itself.

    Raises:
        UsageError: if it does not, or says something else than it must.
    """
    path = folder / ABOUT
    try:
        return msgspec.json.decode(path.read_bytes(), type=Submission)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"a submission is a folder that `submit` wrote; '{path}': {said}") from None


def write_submission(folder: Path, about: Submission) -> None:
    """Writes `submission.json`.

    Raises:
        OSError: if it cannot be written.
    """
    write_json(folder / ABOUT, msgspec.to_builtins(about))


def submitted_records(folder: Path) -> list[Record]:
    """The rows of every submission in a folder of results, under names that say so: "mine (submitted)".

    Raises:
        UsageError: if one cannot be read.
    """
    found: list[Record] = []
    for place in sorted((folder / FOLDER).glob(f"*/{ABOUT}")):
        about = read_submission(place.parent)
        found += [_marked(record, about) for record in read_rows(place.parent / ROWS)]
    return found


def _marked(record: Record, about: Submission) -> Record:
    mark = f" ({about.status})"
    objective = replace(record.spec.objective, short_label=f"{record.spec.objective.short_label or about.label}{mark}")
    run = replace(record.run, spec=replace(record.spec, objective=objective))
    return replace(record, run=run, objective=f"{record.objective}{mark}")
