"""`submit`: an entry of a store as a folder that somebody else can check."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.common import fingerprint
from bench.common.errors import UsageError
from bench.common.json_files import write_json
from bench.contract import ledger
from bench.results.committed_rows import write_rows
from bench.results.integrity import file_digest
from bench.results.records import Record, read_records
from bench.results.store import Store
from bench.results.submission_files import ENVIRONMENTS, ROWS, TUNING, Submission, write_submission
from bench.submissions.inspect import LICENCE, licence_of
from bench.suites.files import suite_names


def pack(root: Path, file: Path, out: Path, *, name: str = "", tuned: Path | None = None) -> Path:
    """Writes an objective of somebody's own and its rows into `out`/NAME; returns that folder.

    Args:
        name: of the submission; the file's stem if empty.
        tuned: what `tune` wrote, which rows of tuned settings need.

    Raises:
        UsageError: if the store has no run of the file, or of several suites or of one that is not the project's; the
            file was edited since, has no licence line or does not keep the contract; a run is unfinished; evidence of
            tuning is missing; or the folder exists.
    """
    name = name or file.stem
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{1,60}", name):
        raise UsageError(f"a submission's name is of small letters, digits, - and _; got '{name}': give another --name")
    records = _records(root, file)
    spec = records[0].spec
    if not licence_of(file.read_text(encoding="utf-8")):
        raise UsageError(f"{file.name} must say its licence in its first lines: add '# {LICENCE} MIT', or another")
    if fingerprint.code(file) != spec.objective.sha:
        raise UsageError(f"{file.name} was edited since its runs were made; run the suite again, or restore it")
    if standing := ledger.standing(file):
        raise UsageError(f"{file.name} must keep the contract; it is {standing}: `check {file.name}` says how")
    folder = out / name
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"a submission needs a new folder; '{folder}': {error.strerror}: give another --out") from None
    shutil.copyfile(file, folder / file.name)
    write_rows(records, folder / ROWS)
    if any(record.spec.tuned for record in records):
        _write_tuning(tuned, folder / TUNING, spec.suite, {record.spec.objective.label for record in records})
    store = Store(root)
    used = sorted({str(record.get("env.env_id")) for record in records if record.get("env.env_id")})
    write_json(folder / ENVIRONMENTS, {env: store.environment(env) for env in used})
    written = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
    commits = tuple(sorted({str(record.get("provenance.git_sha")) for record in records if record.row}))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = (name, spec.suite, spec.suite_version or 1, file.name, records[0].objective, spec.objective.sha)
    write_submission(folder, Submission(*about, commits, now, written))
    return folder


def _records(root: Path, file: Path) -> list[Record]:
    """The runs of a file in a store.

    Raises:
        UsageError: if there are none, they are of several suites, or one is unfinished.
    """
    if not file.is_file():
        raise UsageError(f"an objective's file must exist; there is no '{file}'")
    own = [r for r in read_records(Store(root)) if Path(r.spec.objective.ref.partition("[")[0]) == file.resolve()]
    suites = sorted({record.spec.suite for record in own})
    if len(suites) != 1:
        found = f"it has {', '.join(suites)}" if suites else "it has none"
        raise UsageError(f"a submission is of one suite's runs of {file.name} in '{root}'; {found}")
    if suites[0] not in suite_names():
        raise UsageError(f"a submission is of a suite of the project, which others can rank; got '{suites[0]}'")
    if missing := sum(record.status in ("missing", "interrupted") for record in own):
        raise UsageError(f"every run of a submission must be finished; {missing} are not: run the suite again")
    return own


def _write_tuning(tuned: Path | None, path: Path, suite: str, labels: Sequence[str] | set[str]) -> None:
    if tuned is None:
        raise UsageError("rows of tuned settings need their evidence: --tuned FILE, which `tune` wrote")
    try:
        with tuned.open(encoding="utf-8", newline="") as given:
            reader = csv.DictReader(given)
            lines = [line for line in reader if line.get("suite") == suite and line.get("label") in labels]
            columns = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"'{tuned}' cannot be read as tuned settings: {error}") from None
    if not lines:
        raise UsageError(f"'{tuned}' has no settings of {json.dumps(sorted(labels))} in suite {suite}")
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path.write_text(text.getvalue(), encoding="utf-8")
