"""The page's first figure: every objective of a suite against the suite's reference, a bar a data set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.results import contrasts, labels, reference_comparison, standings
from bench.results.records import Record
from bench.results.reference_comparison import ReferenceComparison

# a bar ends at the edge beyond a ratio of a hundred, or ten decibels
WIDEST = {("ratio", "lower"): math.log(100.0), ("difference", "higher"): 10.0}


def verdicts(records: Sequence[Record], ids: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    """One figure for each suite that names a reference; `ids` finds an objective's section by (suite, label)."""
    everything = reference_comparison.compare_with_reference(records)
    figures = []
    for suite in dict.fromkeys(finding.suite for finding in everything):
        found = [finding for finding in everything if finding.suite == suite]
        chosen = [record for record in records if record.spec.suite == suite]
        reference = reference_comparison.reference_name(chosen)
        spans = {kind: _span(f for f in found if _kind(f) == kind) for kind in {_kind(f) for f in found}}
        lines: dict[str, dict[str, Any]] = {}
        for finding in found:
            line = lines.setdefault(finding.objective, {"cells": {}, "effects": []})
            line["cells"][finding.dataset] = _cell(finding, spans[_kind(finding)])
            line["effects"].append(_position(finding, finding.effect.mean))
        figures.append(
            {
                "suite": suite,
                "reference": labels.display_name(reference),
                "datasets": [
                    {"id": d, "name": labels.display_name(d)} for d in dict.fromkeys(f.dataset for f in found)
                ],
                "lines": [
                    {"name": labels.display_name(name), "id": ids.get((suite, name), ""), "cells": line["cells"]}
                    for name, line in sorted(lines.items(), key=lambda item: _order(item[1]["effects"]))
                ],
                "questions": _questions(chosen),
                "reading": reference_comparison.reading(found, chosen, reference),
                "provenance": standings.provenance(chosen),
                "tables": _tables(found),
                "has_results": any(finding.effect.mean is not None for finding in found),
            }
        )
    return figures


def _questions(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The answers to what the suite asks, two tables for each board and class of energies."""
    found = contrasts.answer(records)
    boards = {board: [f for f in found if f.board == board] for board in dict.fromkeys(f.board for f in found)}
    return [
        {
            "title": title,
            "tables": [contrasts.answers_frame(own), contrasts.parts_frame(own)],
            "reading": contrasts.reading(own),
        }
        for asked in boards.values()
        for title, own in contrasts.verdicts(asked)
    ]


def _tables(found: Sequence[ReferenceComparison]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As it is printed, a column a data set; and with every digit, a line a finding."""
    printed: dict[str, dict[str, str]] = {}
    exact = []
    for f in found:
        printed.setdefault(f.objective, {"objective": f.objective})[f.dataset] = reference_comparison.format_comparison(
            f
        )
        effect = {"effect": f.effect.mean, "low": f.effect.low, "high": f.effect.high, "n": f.effect.n}
        exact.append({k: v for k, v in vars(f).items() if k != "effect"} | effect)
    return pd.DataFrame(list(printed.values())).fillna("not run"), pd.DataFrame(exact)


def _position(finding: ReferenceComparison, value: float | None) -> float | None:
    """On an axis where no difference is 0 and less is better: a ratio's logarithm, or a difference."""
    if value is None:
        return None
    return (math.log(value) if finding.scale == "ratio" else value) * (1 if finding.better == "lower" else -1)


def _kind(finding: ReferenceComparison) -> tuple[str, str]:
    """What bars share an axis: differences are in units of their metric."""
    return finding.scale, finding.metric if finding.scale == "difference" else ""


def _span(found: Iterable[ReferenceComparison]) -> float:
    """Half the width of the axis that all bars of one kind share."""
    ends = [
        abs(at)
        for f in found
        for value in (f.effect.mean, f.effect.low, f.effect.high)
        if (at := _position(f, value)) is not None
    ]
    return max(ends, default=1.0) or 1.0


def _cell(finding: ReferenceComparison, span: float) -> dict[str, Any]:
    """Places in per cent of the cell's width, the better side on the left."""
    half = min(span, WIDEST.get((finding.scale, finding.better), math.inf)) * 1.06
    effect = finding.effect
    ends = [_position(finding, value) for value in (effect.mean, effect.low, effect.high)]
    at, low, high = (None if v is None else 50 + 50 * max(-1.0, min(1.0, v / half)) for v in ends)
    left, right = (None, None) if low is None or high is None else (min(low, high), max(low, high))
    number, _, _ = reference_comparison.format_comparison(finding).partition(":")
    return {"word": finding.word, "number": "" if at is None else number, "at": at, "left": left, "right": right}


def _order(effects: Sequence[float | None]) -> tuple[int, float]:
    known = [effect for effect in effects if effect is not None]
    return len(effects) - len(known), sum(known) / len(known) if known else 0.0
