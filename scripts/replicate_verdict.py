"""Whether a suite's verdict holds on other seeds: its words from the committed rows beside those from new ones.

    python -m bench run --suite verdict_plane --seed 200-215 --out STORE
    python scripts/replicate_verdict.py verdict_plane STORE

The new seeds must not be among those that the committed rows have; choose none that settings were tuned with.
Rows of the store are kept in results/replication, and added to those that are there, so that a verdict can be repeated
in parts.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.common.paths import HOME
from bench.results.committed_rows import SUFFIX, read_rows, write_rows
from bench.results.contrasts import Finding, answer, answer_in_words
from bench.results.paired_cells import format_effect
from bench.results.records import Record, read_records
from bench.results.reference_comparison import ReferenceComparison, compare_with_reference
from bench.results.store import Store
from bench.results.tables import markdown_table

OPPOSITE = {("better", "worse"), ("worse", "better")}


@dataclass(frozen=True)
class Answer:
    """What one set of seeds says of one question, or of one entry on one data set."""

    word: str
    effect: str
    sentence: str


def main() -> None:
    """Merges the new rows with the kept ones and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", help="A suite with committed rows.")
    parser.add_argument("store", nargs="*", type=Path, help="Stores of the same suite at other seeds.")
    options = parser.parse_args()
    rows = HOME / "results" / "data" / f"{options.suite}{SUFFIX}"
    kept = HOME / "results" / "replication" / f"{options.suite}{SUFFIX}"
    kept.parent.mkdir(exist_ok=True)
    published = read_rows(rows)
    found = {identity(record): record for record in (read_rows(kept) if kept.exists() else [])}
    for store in options.store:
        run = [record for record in read_records(Store(store)) if record.status != "missing"]
        found |= {identity(record): record for record in run if not record.spec.reference_fit}
    fresh = list(found.values())
    seeds = {record.spec.seed for record in published if not record.spec.reference_fit}
    if shared := seeds & {record.spec.seed for record in fresh}:
        raise SystemExit(f"seeds must be new; {sorted(shared)} are those of {rows.name}; run others with --seed")
    write_rows(fresh, kept)
    page = kept.parent / f"{options.suite}.md"
    page.write_text(replication(options.suite, published, fresh), encoding="utf-8")
    print(page)


def identity(record: Record) -> tuple[str, str, int, bool]:
    """What tells one run of a suite from the others."""
    return record.spec.objective.label, record.spec.dataset.label, record.spec.seed, record.spec.tuned


def replication(suite: str, published: Sequence[Record], fresh: Sequence[Record]) -> str:
    """The page: how many words fell, then every question and every cell with both answers."""
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
            f"## {'Tuned' if tuned else 'Default'} settings: {seeds_of(old)} and {seeds_of(new)}, "
            f"{len(datasets)} data sets",
            compared("the suite's questions", questions(first), questions(second)),
            compared("entries against the reference on one data set", cells(first), cells(second)),
        ]
    return (
        f"# {suite} on other seeds\n\nThe words of [{suite}](../{suite}.md) beside those that the same suite gives on "
        "seeds that no choice was made with. Both are corrected as there. Written by "
        f"`python scripts/replicate_verdict.py {suite}` from committed rows.\n\n" + "\n\n".join(parts) + "\n"
    )


def questions(records: Sequence[Record]) -> dict[tuple[str, ...], Answer]:
    """The answer to each contrast that the suite names."""
    return {
        (finding.contrast.name,): Answer(finding.word, effect_of(finding), answer_in_words(finding))
        for finding in answer(records)
    }


def cells(records: Sequence[Record]) -> dict[tuple[str, ...], Answer]:
    """The word of each entry on each data set."""
    return {
        (found.objective, found.dataset): Answer(found.word, effect_of(found), found.word)
        for found in compare_with_reference(records)
    }


def effect_of(found: Finding | ReferenceComparison) -> str:
    """The estimate with its interval, or a dash where there is none."""
    return "–" if found.effect.mean is None else format_effect(found.effect, found.scale)


def compared(what: str, first: dict[tuple[str, ...], Answer], second: dict[tuple[str, ...], Answer]) -> str:
    """How often the words agree, and a table of every pair of answers."""
    pairs = {key: (first[key], second[key]) for key in first if key in second}
    words = Counter((a.word, b.word) for a, b in pairs.values())
    changed = sum(count for (a, b), count in words.items() if a != b)
    opposite = sum(count for pair, count in words.items() if pair in OPPOSITE)
    table = pd.DataFrame(
        {
            "of": ", ".join(key),
            "word": a.sentence,
            "effect": a.effect,
            "word on other seeds": b.sentence,
            "effect on other seeds": b.effect,
            "same word": "yes" if a.word == b.word else "**no**",
        }
        for key, (a, b) in pairs.items()
    )
    return (
        f"Of {len(pairs)} words on {what}, {changed} changed, and {opposite} turned from better to worse or the other "
        f"way.\n\n{markdown_table(table)}"
    )


def seeds_of(records: Sequence[Record]) -> str:
    """The seeds of records, in words."""
    seeds = sorted({record.spec.seed for record in records})
    return f"seeds {seeds[0]}–{seeds[-1]}"


if __name__ == "__main__":
    main()
