"""The questions of a suite beside the answers of another suite, which stops its runs by another budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import pandas as pd

from bench.report.markdown.answers import cells, compared, questions
from bench.results.labels import display_name
from bench.results.records import Record
from bench.results.tables import markdown_table
from bench.results.track_words import budget_in_words, track_in_words


def other_tracks(name: str, suites: Mapping[str, Sequence[Record]]) -> str:
    """A section for every other suite that asks the same questions on another track; "" if there is none.

    Default settings alone, and the data sets that both have.

    Args:
        suites: the committed rows of every suite, by its name.
    """
    own = _default(suites[name])
    return "\n\n".join(
        _section(own, other, others)
        for other, rows in suites.items()
        if (others := _default(rows)) and _asked(others) == _asked(own) != set() and _track(others) != _track(own)
    )


def _default(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if not record.spec.tuned]


def _asked(records: Sequence[Record]) -> set[str]:
    return {contrast.name for record in records for contrast in record.spec.contrasts}


def _track(records: Sequence[Record]) -> set[str]:
    return {record.spec.track for record in records}


def _section(own: Sequence[Record], other: str, others: Sequence[Record]) -> str:
    both = {record.dataset for record in own} & {record.dataset for record in others}
    here, there = ([record for record in some if record.dataset in both] for some in (own, others))
    ours, theirs = (next(r.spec for r in some if not r.spec.reference_fit) for some in (here, there))
    titles = track_in_words(ours), track_in_words(theirs)
    parts = (
        f"### The same questions at {titles[1]}",
        f"In [{other}]({other}.md) a run has {budget_in_words(theirs)}, here {budget_in_words(ours)}. Default "
        f"settings, {len(both)} data sets. How many steps a time buys depends on the processor, which a page names, "
        "and on this code; where a step costs the same on all data sets, their range is the error of the clock.",
        _steps(here, there, titles),
        compared("the questions", questions(here), questions(there), titles),
        compared("entries against the reference on one data set", cells(here), cells(there), titles),
    )
    return "\n\n".join(parts)


def _steps(here: Sequence[Record], there: Sequence[Record], titles: tuple[str, str]) -> str:
    """What the two budgets buy each entry: the median steps of its completed runs, and their range."""
    columns = {f"steps at {title}": _taken(records) for title, records in zip(titles, (here, there), strict=True)}
    lines = [
        {"entry": display_name(entry), **{title: _ranged(taken[entry]) for title, taken in columns.items()}}
        for entry in dict.fromkeys(record.objective for record in here)
        if all(entry in taken for taken in columns.values())
    ]
    return markdown_table(pd.DataFrame(lines))


def _ranged(steps: Sequence[float]) -> str:
    low, high = min(steps), max(steps)
    return f"{median(steps):,.0f}" + (f" ({low:,.0f} to {high:,.0f})" if low < high else "")


def _taken(records: Sequence[Record]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for record in records:
        if record.status == "ok" and not record.spec.reference_fit:
            found.setdefault(record.objective, []).append(record.get("work.steps"))
    return found
