"""The questions of a suite beside the answers of another suite, which stops its runs by another budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import pandas as pd

from bench.report.markdown.answers import cells, compared, questions
from bench.results.labels import display_name
from bench.results.records import Record
from bench.results.tables import markdown_table

UNITS = {
    "equal_steps": (1.0, "steps"),
    "equal_flops": (1e9, "GFLOPs"),
    "equal_seconds": (1.0, "s of one core"),
    "equal_time": (1e9, "GFLOPs by time"),
}


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
    titles = _budget(here), _budget(there)
    parts = (
        f"### At {titles[1]} instead",
        f"[{other}]({other}.md) asks the same of runs that stop at {titles[1]}. Default settings, {len(both)} data "
        "sets; steps and seconds are medians. How many steps a second buys is a fact about the processors that the "
        "pages name and about this code, and another processor can answer otherwise.",
        _steps(here, there, titles),
        compared("the questions", questions(here), questions(there), titles),
        compared("entries against the reference on one data set", cells(here), cells(there), titles),
    )
    return "\n\n".join(parts)


def _budget(records: Sequence[Record]) -> str:
    """At what an entry's runs stop: "8 s of one core"."""
    spec = next(record.spec for record in records if not record.spec.reference_fit)
    scale, unit = UNITS[spec.track]
    return f"{spec.limit / scale:.3g} {unit}"


def _steps(here: Sequence[Record], there: Sequence[Record], titles: tuple[str, str]) -> str:
    """What the two budgets buy each entry, in steps and in seconds of the processor."""
    columns = {title: _spent(records) for title, records in zip(titles, (here, there), strict=True)}
    table = pd.DataFrame(
        {
            "entry": display_name(entry),
            **{
                f"{what} at {title}": f"{spent[entry][k]:.3g}" if k else f"{spent[entry][k]:.0f}"
                for k, what in enumerate(("steps", "CPU s"))
                for title, spent in columns.items()
            },
        }
        for entry in columns[titles[0]]
        if all(entry in spent for spent in columns.values())
    )
    return markdown_table(table)


def _spent(records: Sequence[Record]) -> dict[str, tuple[float, float]]:
    """The median steps and seconds of the processor of each entry's completed runs."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        if record.status == "ok" and not record.spec.reference_fit:
            found.setdefault(record.objective, []).append((record.get("work.steps"), record.get("time.train_cpu")))
    return {entry: (median(a for a, _ in runs), median(b for _, b in runs)) for entry, runs in found.items()}
