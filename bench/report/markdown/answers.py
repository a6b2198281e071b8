"""Two sets of answers side by side: of one verdict on other seeds, or on another budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.results.contrasts import Finding, answer, answer_in_words
from bench.results.paired_cells import format_effect
from bench.results.records import Record
from bench.results.reference_comparison import ReferenceComparison, compare_with_reference
from bench.results.tables import markdown_table

OPPOSITE = {("better", "worse"), ("worse", "better")}


@dataclass(frozen=True)
class Answer:
    """What one set of rows says of one question, or of one entry on one data set."""

    word: str
    effect: str
    sentence: str


Answers = Mapping[tuple[str, ...], Answer]


def questions(records: Sequence[Record]) -> Answers:
    """The answer to each contrast that the suite names."""
    return {
        (finding.contrast.name,): Answer(finding.word, _effect_of(finding), answer_in_words(finding))
        for finding in answer(records)
    }


def cells(records: Sequence[Record]) -> Answers:
    """The word of each entry on each data set."""
    return {
        (found.objective, found.dataset): Answer(found.word, _effect_of(found), found.word)
        for found in compare_with_reference(records)
    }


def compared(what: str, first: Answers, second: Answers, titles: tuple[str, str]) -> str:
    """How often the words agree, and a table of every pair of answers.

    Args:
        titles: of the first and the second answers' columns.
    """
    pairs = {key: (first[key], second[key]) for key in first if key in second}
    words = Counter((a.word, b.word) for a, b in pairs.values())
    changed = sum(count for (a, b), count in words.items() if a != b)
    opposite = sum(count for pair, count in words.items() if pair in OPPOSITE)
    here, there = titles
    table = pd.DataFrame(
        {
            "of": ", ".join(key),
            f"word, {here}": a.sentence,
            f"effect, {here}": a.effect,
            f"word, {there}": b.sentence,
            f"effect, {there}": b.effect,
            "same word": "yes" if a.word == b.word else "**no**",
        }
        for key, (a, b) in pairs.items()
    )
    return (
        f"Of {len(pairs)} words on {what}, {changed} differ; better in one and worse in the other: {opposite}.\n\n"
        f"{markdown_table(table)}"
    )


def _effect_of(found: Finding | ReferenceComparison) -> str:
    """The estimate with its interval, or a dash where there is none."""
    return "–" if found.effect.mean is None else format_effect(found.effect, found.scale)
