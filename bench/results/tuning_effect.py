"""What tuning did to each entry on the seeds that are reported: its tuned runs over those at its defaults, by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.common.statistics import Better, Interval, Scale, holm
from bench.results import leaderboard, tables
from bench.results.convergence import NO_VERDICT, no_verdict
from bench.results.paired_cells import ALPHA, compare_cells, failure, format_effect
from bench.results.records import BoardKey, Cell, Record, any_value

SAME = "same settings"
BOTH_FAILED = "both failed"
DEFAULT_FAILED = "default failed"


@dataclass(frozen=True)
class TuningEffect:
    """One entry on one data set.

    Attributes:
        effect: tuned over default, a ratio of geometric means, or their difference, as `scale` says; Student's paired
            95 % interval over the seeds.
        p_value: two-sided, Holm-corrected over the suite's cells; None where there is no test.
        word: "better", "worse", "not separable", or why there is no test: `SAME` where every value is equal, "failed"
            where a tuned run did and no default one, `BOTH_FAILED`, `DEFAULT_FAILED`, "no spread", "no ratio",
            "under-fits", "not run".
    """

    board: BoardKey
    entry: str
    dataset: str
    metric: str
    scale: Scale
    better: Better
    effect: Interval
    p_value: float | None
    word: str


def tuning_effects(records: Sequence[Record]) -> list[TuningEffect]:
    """Every entry that was run with default and with tuned settings, on every data set where both were."""
    found = []
    for board in dict.fromkeys(record.board for record in records):
        own = [record for record in records if record.board == board]
        drafts = [draft for dataset in dict.fromkeys(r.dataset for r in own) for draft in _drafts(board, dataset, own)]
        tests = {k: d.p_value for k, d in enumerate(drafts) if not d.word and d.p_value is not None}
        adjusted = holm(tests, sum(draft.word not in (SAME, *NO_VERDICT) for draft in drafts))
        found += [_judged(draft, adjusted.get(k)) for k, draft in enumerate(drafts)]
    return found


def _drafts(board: BoardKey, dataset: str, records: Sequence[Record]) -> list[TuningEffect]:
    """The entries on one data set, p-values as they are and without the words that need these."""
    on_it = [record for record in records if record.dataset == dataset]
    pairs: dict[str, tuple[Cell, Cell]] = {}
    for record in on_it:
        if not record.spec.role:
            pairs.setdefault(record.spec.entry, (Cell(), Cell()))[not record.spec.tuned].records.append(record)
    key, unjudged = leaderboard.primary_key(on_it), no_verdict(on_it)
    about = any_value((record for record in on_it if record.status == "ok"), key)
    drafts = []
    for tuned, default in pairs.values():
        if not (tuned.records and default.records):
            continue
        comparison = compare_cells(tuned, default, key, about.scale)
        word = unjudged or failure(tuned, default, key) or comparison.difference.word
        if word == "reference failed":
            word = DEFAULT_FAILED
        elif word == "failed" and failure(default, tuned, key) == word:
            word = BOTH_FAILED
        elif tuned.seeds(key) == default.seeds(key):
            word = SAME
        effect = Interval(None, None, None, 0, word) if word else comparison.effect
        drafts.append(
            TuningEffect(
                board,
                default.records[0].objective,
                dataset,
                key.column if key else "",
                about.scale,
                about.better,
                effect,
                comparison.p_value,
                word,
            )
        )
    return drafts


def _judged(draft: TuningEffect, p_value: float | None) -> TuningEffect:
    if draft.word:
        return replace(draft, p_value=None)
    word, equal = "not separable", 1.0 if draft.scale == "ratio" else 0.0
    if p_value is not None and p_value <= ALPHA and draft.effect.mean is not None:
        word = "better" if (draft.effect.mean < equal) == (draft.better == "lower") else "worse"
    return replace(draft, p_value=p_value, word=word)


def tuning_markdown(records: Sequence[Record]) -> str:
    """For each board a sentence that counts the words, and a table of every entry on every data set.

    "" where nothing was tuned.
    """
    boards: dict[BoardKey, list[TuningEffect]] = {}
    for effect in tuning_effects(records):
        boards.setdefault(effect.board, []).append(effect)
    return "\n\n".join(_board_markdown(found, named=len(boards) > 1) for found in boards.values())


def _board_markdown(found: Sequence[TuningEffect], *, named: bool) -> str:
    lines: dict[str, dict[str, str]] = {}
    for cell in found:
        shown = cell.word
        if cell.effect.mean is not None:
            shown = f"{format_effect(cell.effect, cell.scale)}: {cell.word}"
        lines.setdefault(cell.entry, {"tuned over default": cell.entry})[cell.dataset] = shown
    counts = {word: [cell for cell in found if cell.word == word] for word in dict.fromkeys(c.word for c in found)}
    said = "; ".join(
        f"{word} in {len(cells)}{_where(cells) if word in ('worse', 'failed') else ''}"
        for word, cells in sorted(counts.items())
    )
    metrics = ", ".join(f"`{name}`" for name in dict.fromkeys(cell.metric for cell in found if cell.metric))
    where = f" of {' · '.join(found[0].board)}" * named
    return (
        f"Tuned over default settings{where}, {len(found)} cells: {said}. Each cell is {metrics} of the tuned entry "
        "against that of the same entry at its defaults, as elsewhere on this page, with Student's paired 95 % "
        "interval; *better* and *worse* need p ≤ .05 after Holm's correction over these cells, "
        "less those with the same numbers. *failed*: where a tuned run failed and no default one.\n\n"
        + tables.markdown_table(pd.DataFrame(list(lines.values())).fillna("not run"))
    )


def _where(cells: Sequence[TuningEffect]) -> str:
    return f" ({', '.join(f'{cell.entry} on {cell.dataset}' for cell in cells)})"
