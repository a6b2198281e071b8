"""What others claim, that one way of training is better than another, held against the questions of several suites.

A suite's question "A over B" is such a claim where a paper says that A is better. It is shown if the suite answers
"better", the opposite is shown if it answers "worse", and nothing is shown otherwise: by an answer that is undecided,
by one that is equivalent, or where runs failed. Where runs are to come, that is said instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import pandas as pd

from bench.results import contrasts, denoising_table, tables
from bench.results.contrasts import Finding
from bench.results.paired_cells import format_effect
from bench.results.records import Record

SHOWN = {"better": "**shown**", "worse": "**opposite shown**"}
READING = (
    "A ratio below ×1, or a difference in dB above 0, is better; intervals are simultaneous 95 % (Bonferroni's). "
    "*Shown*: p ≤ .05 after Holm's correction over the suite's questions, less strict: an interval may include no "
    "difference."
)
BOTH_TUNED = "*Tuned*: both sides, CD's number of steps too."


def claims_markdown(suites: Mapping[str, Sequence[Record]], wanted: str = "*") -> str:
    """A line a claim, a column a suite: whether it is shown, not shown, or the opposite is, with the interval.

    What tuned entries answer has a column of its own.

    Args:
        suites: the records of each suite, in the order of the columns; one without an answer is named below the table.
        wanted: which questions, by name, with * for any text.
    """
    columns: dict[str, dict[str, Finding]] = {}
    answered = {suite: contrasts.answer(records) for suite, records in suites.items()}
    for suite, findings in answered.items():
        for finding in findings:
            name = finding.contrast.name.removesuffix(contrasts.TUNED)
            if fnmatchcase(name, wanted):
                settings = ", tuned" * (name != finding.contrast.name)
                columns.setdefault(f"{suite}{settings}, {_seeds(suites[suite])}", {})[name] = finding
    asked = list(dict.fromkeys(name for found in columns.values() for name in found))
    lines = [{"claim": name} | {head: _cell(found.get(name)) for head, found in columns.items()} for name in asked]
    without = ", ".join(f"`{suite}`" for suite in suites if not any(head.startswith(f"{suite}, ") for head in columns))
    doubts = [
        f"In `{suite}` {sentence}"
        for suite, records in suites.items()
        for sentence in denoising_table.behind_a_filter(records, wanted)
    ]
    tuned = [BOTH_TUNED] * any(", tuned, " in head for head in columns)
    parts = [tables.markdown_table(pd.DataFrame(lines)), " ".join([READING, *tuned, *doubts])] if lines else []
    return "\n\n".join([*parts, *([f"No answer yet: {without}."] if without else [])])


def _seeds(records: Sequence[Record]) -> str:
    count = len({record.spec.seed for record in records if not record.spec.reference_fit})
    return f"{count} seed{'s' * (count > 1)}"


def _cell(finding: Finding | None) -> str:
    if finding is None:
        return "not asked"
    if finding.word == "not run":
        return "not run yet"
    word = SHOWN.get(finding.word, "not shown")
    if finding.effect.mean is None:
        return f"{word}: {finding.word if len(finding.parts) == 1 else contrasts.answer_in_words(finding)}"
    p = f", p {contrasts.format_p(finding.p_value, '= ')}" if finding.p_value is not None else ""
    return f"{word}, {format_effect(finding.effect, finding.scale)}{p}{contrasts.qualified(finding)}"
