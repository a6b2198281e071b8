"""Whether a submission's rows are what its code gives: some of them, or all, are run again."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.common.errors import UsageError
from bench.common.git import current_commit
from bench.common.run_spec import RunSpec
from bench.results.committed_rows import settings_of
from bench.results.records import Record, read_records
from bench.results.store import Store
from bench.results.submission_files import Submission, read_submission, write_submission
from bench.runner.executor import execute
from bench.runner.rerun import NOT_JUDGED, compared
from bench.submissions.inspect import faults_of_files, rows_of
from bench.suites import expand, schema, tuned
from bench.suites.files import suite_names

ROUNDED = 1e-6  # committed rows have seven digits


def check_submission(folder: Path, again: int | None, jobs: int = 1) -> tuple[list[str], list[str]]:
    """What is wrong with a submission, and a line for each row that was run again; nothing is run if a file is wrong.

    Args:
        again: how many random completed rows to run again; None for all, which marks the submission as verified.

    Raises:
        UsageError: if the folder is no submission.
    """
    about = read_submission(folder)
    faults = faults_of_files(folder, about)
    if faults:
        return faults, []
    records, faults = rows_of(folder, about)
    if faults:
        return faults, []
    done = [record for record in records if record.status == "ok"]
    chosen = done if again is None else random.Random().sample(done, min(again, len(done)))
    with tempfile.TemporaryDirectory() as place:
        # what runs there leaves files, such as compiled code
        copy = Path(shutil.copytree(folder, Path(place) / about.name))
        planned, faults = _planned(copy, about, records)
        if faults:
            return faults, []
        lines, wrong = _run_again(chosen, records, planned, jobs)
    if again is None and not wrong:
        stamp = f"{datetime.now(UTC).date()}, commit {(current_commit() or 'unknown')[:10]}"
        write_submission(folder, _with_status(about, stamp))
    return wrong, lines


def _with_status(about: Submission, stamp: str) -> Submission:
    import msgspec

    return msgspec.structs.replace(about, status="verified", verified_at=stamp)


def _key(spec: RunSpec) -> tuple[str, int, bool]:
    return spec.dataset.label, spec.seed, spec.tuned


def _planned(
    folder: Path, about: Submission, records: Sequence[Record]
) -> tuple[dict[tuple[str, int, bool], RunSpec], list[str]]:
    """The runs of the suite with the submission's objective, and what its rows lack of them."""
    if about.suite not in suite_names():
        return {}, [f"there is no suite '{about.suite}'"]
    (suite,) = schema.read_suite(about.suite)
    if suite.version != about.protocol:
        return {}, [f"its rows are of protocol version {about.protocol} of {about.suite}, which is now {suite.version}"]
    given = {record.spec.objective.label.partition("[")[2] for record in records}
    if len(given) > 1:
        return {}, ["a submission has one setting of its objective, tuned ones aside"]
    ref = f"{folder.resolve() / about.objective}" + "".join(f"[{part}" for part in given if part)
    selection = expand.Selection(objectives=(ref,))
    device = records[0].spec.device
    specs = [s for s in expand.plan_runs([suite], selection, device) if not s.reference_fit]
    plain = [s for s in specs if any(not r.spec.tuned for r in records)]
    chosen = [s for s in specs if any(r.spec.tuned for r in records)]
    if chosen:
        settings = tuned.read_tuned(folder / "tuning.csv")
        since = {suite.name: suite.tuned_since} if suite.tuned_since else {}
        chosen = tuned.with_tuned(chosen, settings, "tuning.csv", since)
    found = {_key(spec): spec for spec in (*plain, *chosen)}
    have = {_key(record.spec) for record in records}
    lacks = sorted(found.keys() - have)
    faults = []
    if lacks:
        said = f"such as {lacks[0][0]}, seed {lacks[0][1]}"
        faults.append(f"it lacks {len(lacks)} of {len(found)} runs of the suite, {said}")
    faults += [f"{dataset}, seed {seed}: no run of the suite" for dataset, seed, _ in sorted(have - found.keys())]
    faults += [fault for r in records if _key(r.spec) in found for fault in _other_settings(r, found[_key(r.spec)])]
    return found, faults


def _other_settings(record: Record, planned: RunSpec) -> list[str]:
    """The settings that the suite has otherwise: a number of other settings verifies nothing, however near it is."""
    theirs, ours = settings_of(record.spec), settings_of(planned)
    return [
        f"{record.dataset}, seed {record.spec.seed}: {name} is {theirs.get(name, 'not said')}; the suite's is "
        f"{ours.get(name, 'none')}"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    ]


def _run_again(
    chosen: Sequence[Record], records: Sequence[Record], planned: dict[tuple[str, int, bool], RunSpec], jobs: int
) -> tuple[list[str], list[str]]:
    if not chosen:
        return [], ["no row of it has a result"]
    specs = [replace(planned[_key(record.spec)], batch_seeds=False) for record in chosen]
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place))
        execute(specs, store, jobs=jobs)
        fresh = {_key(record.spec): record for record in read_records(store)}
    lines: list[str] = []
    wrong: list[str] = []
    for record in chosen:
        name = f"{record.dataset}, seed {record.spec.seed}"
        fault, how = compared(record, fresh[_key(record.spec)], records, rounded=ROUNDED)
        # a number that nothing can be held against verifies no entry
        (wrong if fault or how == NOT_JUDGED else lines).append(f"{name}: {fault or how}")
    return lines, wrong


def parsed_count(text: str) -> int | None:
    """The number of rows that --rerun names, None for "all".

    Raises:
        UsageError: if it is neither.
    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--rerun is a number of rows, at least 1, or all; got '{text}'")
    return int(text)
