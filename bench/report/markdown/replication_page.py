"""A verdict on other seeds: the words from committed rows beside those from seeds that no choice was made with.

FOLDER/replication/<suite>.csv.xz   the rows of the other seeds
FOLDER/replication/<suite>.md       rendered from them and from the suite's own
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench.common.errors import UsageError
from bench.common.references import format_seeds, parse_seeds
from bench.report.markdown.answers import cells, compared, questions
from bench.results.committed_rows import SUFFIX, read_rows, write_rows
from bench.results.records import Record
from bench.results.tuning_effect import tuning_markdown

FOLDER = "replication"
TITLES = ("here", "on other seeds")


def add_other_seeds(records: Iterable[Record], folder: Path) -> list[Path]:
    """Adds rows of other seeds to those that a folder of results keeps; returns the files written.

    Rows of the same entry, data set, seed and settings are replaced: a verdict can be repeated in parts.

    Raises:
        UsageError: if a suite has no committed rows to compare with, or these are of another protocol version, or a
            seed is one that the committed rows or the suite's tuning used.
    """
    suites: dict[str, list[Record]] = {}
    for record in records:
        if record.status != "missing" and not record.spec.reference_fit:
            suites.setdefault(record.spec.suite, []).append(record)
    for name, fresh in suites.items():
        _require_comparable(name, fresh, folder)
    written = []
    for name, fresh in suites.items():
        path = folder / FOLDER / f"{name}{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = read_rows(path) if path.is_file() else []
        write_rows(list({_identity(record): record for record in [*kept, *fresh]}.values()), path)
        written.append(path)
    return written


def _require_comparable(name: str, fresh: Sequence[Record], folder: Path) -> None:
    own = folder / "data" / f"{name}{SUFFIX}"
    if not own.is_file():
        raise UsageError(f"other seeds are compared with committed rows; there is no '{own}'; publish the suite first")
    published = [record for record in read_rows(own) if not record.spec.reference_fit]
    then, now = ({record.spec.suite_version for record in some} for some in (published, fresh))
    if then != now:
        raise UsageError(
            f"{name}: rows on other seeds must be of the protocol version of the committed rows, {_listed(then)}; "
            f"got {_listed(now)}; run the suite as it was then, or publish its own rows anew first"
        )
    used = {"committed rows": {record.spec.seed for record in published}, "tuning": _tuning_seeds(name, folder)}
    for what, seeds in used.items():
        if shared := seeds & {record.spec.seed for record in fresh}:
            raise UsageError(
                f"{name}: other seeds must be new; {format_seeds(shared)} were used for the suite's {what}; run others "
                "with --seed"
            )


def _listed(versions: Iterable[int | None]) -> str:
    return " and ".join(sorted(map(str, versions)))


def _tuning_seeds(name: str, folder: Path) -> set[int]:
    path = folder / "tuning" / f"{name}.csv"
    if not path.is_file():
        return set()
    return {seed for some in pd.read_csv(path, dtype=str)["seeds"].unique() for seed in parse_seeds(some)}


def _identity(record: Record) -> tuple[object, ...]:
    """What tells one run of a suite from the others."""
    spec = record.spec
    return record.board, spec.objective.label, spec.dataset.label, spec.seed, spec.tuned


def replication_texts(folder: Path) -> dict[Path, str]:
    """The page of every suite of a folder of results that has rows on other seeds, by path."""
    return {
        folder / FOLDER / f"{name}.md": _page(name, read_rows(folder / "data" / path.name), read_rows(path))
        for path in sorted((folder / FOLDER).glob("*" + SUFFIX))
        if (name := path.name.removesuffix(SUFFIX))
    }


def _page(suite: str, published: Sequence[Record], fresh: Sequence[Record]) -> str:
    """How many words fell, then every question and every cell with both answers."""
    fits = [record for record in published if record.spec.reference_fit]
    parts = []
    for tuned in sorted({record.spec.tuned for record in fresh}):
        new = [record for record in fresh if record.spec.tuned == tuned]
        datasets = {record.dataset for record in new}
        old = [
            record
            for record in published
            if record.spec.tuned == tuned and not record.spec.reference_fit and record.dataset in datasets
        ]
        rulers = [record for record in fits if record.dataset in datasets]
        first, second = [*old, *rulers], [*new, *rulers]
        parts += [
            f"## {'Tuned' if tuned else 'Default'} settings: {_seeds_of(old)} and {_seeds_of(new)}, "
            f"{len(datasets)} data sets",
            compared("the suite's questions", questions(first), questions(second), TITLES),
            compared("entries against the reference on one data set", cells(first), cells(second), TITLES),
        ]
    if tuning := tuning_markdown([*fresh, *fits]):
        parts += ["## Tuned over default settings, on the other seeds", tuning]
    return (
        f"# {suite} on other seeds\n\nThe words of [{suite}](../{suite}.md) beside those that the same suite gives on "
        "seeds that no choice was made with. Both are corrected as there. Rendered from "
        f"[{suite}{SUFFIX}]({suite}{SUFFIX}) and the suite's own rows by `python -m bench publish`.\n\n"
        + "\n\n".join(parts)
        + "\n"
    )


def _seeds_of(records: Iterable[Record]) -> str:
    return f"seeds {format_seeds({record.spec.seed for record in records})}"
