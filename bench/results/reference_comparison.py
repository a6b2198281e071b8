"""The verdict: every objective of a suite against the one that the suite names as its reference, paired by seed.

It is made from rows alone. On a track of equal FLOPs it says which of them is the better use of the same compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.common.statistics import Better, Comparison, Interval, Scale, holm, paired
from bench.results import leaderboard, tables
from bench.results.metric_values import MetricKey
from bench.results.records import Cell, Record, any_value, group_cells, metric_basis

ALPHA = 0.05
WORDS = ("better", "not separable", "worse", "no ratio", "failed", "not run")
UNTESTED = ("no ratio", "failed", "not run")


@dataclass(frozen=True)
class ReferenceComparison:
    """One objective against the reference on one data set.

    Attributes:
        effect: the ratio of the geometric means, objective over reference, or the difference of the means, as the
            metric's `scale` says. Its interval is Student's paired 95 %.
        p_value: two-sided, Holm-corrected over all findings of the suite; None where there is no test.
        word: one of `WORDS`; "better" and "worse" only where `p_value` is at most `ALPHA`; "no ratio" where a metric
            that is compared by ratio has a value that is not positive.
    """

    suite: str
    dataset: str
    objective: str
    metric: str
    better: Better
    effect: Interval
    p_value: float | None
    word: str
    gflops: float | None
    scale: Scale


def compare_with_reference(records: Sequence[Record]) -> list[ReferenceComparison]:
    """Every non-control objective against its suite's reference, on each data set; empty where no suite names one.

    A seed at which either failed makes the pair "failed": leaving it out would reward failing.
    """
    groups: dict[tuple[str, str, str, str], dict[str, Cell]] = {}
    for (suite, track, device, objective, dataset), cell in group_cells(records).items():
        if cell.records[0].spec.reference:
            groups.setdefault((suite, track, device, dataset), {})[objective] = cell
    drafts: list[tuple[ReferenceComparison, Comparison]] = []
    for (suite, _, _, dataset), entries in groups.items():
        key = leaderboard.primary_key(record for cell in entries.values() for record in cell.records)
        reference = reference_name([record for cell in entries.values() for record in cell.records])
        # of any entry's: a cell that failed does not know
        completed = [record for cell in entries.values() for record in cell.completed]
        about = any_value(completed, key)
        for objective, cell in entries.items():
            if objective == reference or cell.records[0].spec.control:
                continue
            rival = entries.get(reference, Cell())
            comparison = compare_cells(cell, rival, key, about.scale)
            word = failure(cell, rival, key) or (comparison.difference.word == "no ratio") * "no ratio"
            gflops = cell.median("flops_train")
            drafts.append(
                (
                    ReferenceComparison(
                        suite,
                        dataset,
                        objective,
                        key.column if key else "",
                        about.better,
                        Interval(None, None, None, 0, word) if word else comparison.effect,
                        None,
                        word,
                        None if gflops is None else gflops / 1e9,
                        about.scale,
                    ),
                    comparison,
                )
            )
    tested: dict[str, dict[int, float]] = {}
    for k, (finding, comparison) in enumerate(drafts):
        if not finding.word and comparison.p_value is not None:
            tested.setdefault(finding.suite, {})[k] = comparison.p_value
    # a suite is the family: what else lies in a store must not change its words
    adjusted = {k: p for family in tested.values() for k, p in holm(family).items()}
    return [_judged(draft, comparison, adjusted.get(k)) for k, (draft, comparison) in enumerate(drafts)]


def reference_name(records: Sequence[Record]) -> str:
    """The name under which the reference of the records' suite is shown."""
    found = (r.objective for r in records if r.spec.reference == r.spec.objective.label)
    return next(found, records[0].spec.reference)


def compare_cells(cell: Cell, rival: Cell, key: MetricKey | None, scale: Scale, level: float = 0.95) -> Comparison:
    """The paired comparison over the seeds of both."""
    ours, theirs = ({r.spec.seed: v for r, v in zip(c.records, c.seeds(key), strict=True)} for c in (cell, rival))
    seeds = sorted(ours.keys() & theirs.keys())
    return paired([ours[s] for s in seeds], [theirs[s] for s in seeds], level, scale)


def failure(cell: Cell, rival: Cell, key: MetricKey | None) -> str:
    """Why two cells cannot be compared, or ""."""
    for side in (cell, rival):
        if not side.records or any(record.status in ("missing", "skipped") for record in side.records):
            return "not run"
        if None in side.seeds(key) or side.uncertified(key):
            return "failed"
    return ""


def _judged(draft: ReferenceComparison, comparison: Comparison, p_value: float | None) -> ReferenceComparison:
    word = draft.word
    if not word:
        word = "not separable"
        if p_value is not None and p_value <= ALPHA and comparison.difference.mean is not None:
            lower = comparison.difference.mean < 0
            word = "better" if lower == (draft.better == "lower") else "worse"
    fields = {**draft.__dict__, "p_value": p_value, "word": word}
    return ReferenceComparison(**fields)


def format_comparison(finding: ReferenceComparison) -> str:
    """A cell: "×0.35 (0.21 to 0.6): better", a difference with its sign, or why there is none."""
    effect = finding.effect
    if finding.word in UNTESTED or effect.mean is None:
        return finding.word
    return f"{format_effect(effect, finding.scale)}: {finding.word}"


def format_effect(effect: Interval, scale: Scale) -> str:
    """ "×0.35 (0.21 to 0.6)", "+1.02 (+0.80 to +1.20)", or with the word that stands in the interval's place."""
    sign, form = ("×", ".2g") if scale == "ratio" else ("", "+.2f")
    if effect.low is None or effect.high is None:
        return f"{sign}{effect.mean:{form}} ({effect.word})"
    return f"{sign}{effect.mean:{form}} ({effect.low:{form}} to {effect.high:{form}})"


def headline(found: Sequence[ReferenceComparison], reference: str) -> str:
    """One sentence for each objective that was compared: on how many data sets it is better, worse, undecided."""
    sentences = []
    for objective in dict.fromkeys(f.objective for f in found):
        own = [f for f in found if f.objective == objective]
        counts = {word: [f.dataset for f in own if f.word == word] for word in WORDS}
        parts = [f"{word} on {', '.join(names)}" for word, names in counts.items() if names]
        sentences.append(f"- `{objective}` against `{reference}`: {'; '.join(parts)}.")
    return "\n".join(sentences)


def comparison_markdown(records: Sequence[Record]) -> str:
    """The verdict of every suite among the records that names a reference: a table and a sentence an objective."""
    everything = compare_with_reference(records)
    parts = []
    for suite in dict.fromkeys(f.suite for f in everything):
        found = [f for f in everything if f.suite == suite]
        chosen = [r for r in records if r.spec.suite == suite]
        reference = reference_name(chosen)
        lines: dict[str, dict[str, str]] = {}
        for f in found:
            lines.setdefault(f.objective, {"objective": f.objective})[f.dataset] = format_comparison(f)
        parts.append(tables.markdown_table(pd.DataFrame(list(lines.values())).fillna("not run")))
        parts.append(reading(found, chosen, reference))
        parts.append(headline(found, reference))
    return "\n\n".join(parts)


def reading(found: Sequence[ReferenceComparison], chosen: Sequence[Record], reference: str) -> str:
    """How a suite's verdict is read: the metrics, each by ratio or by difference, the track, the budget, the test."""
    track = " and ".join(sorted({str(r.spec.track).replace("_", " ") for r in chosen}))
    spent = [f.gflops for f in found if f.gflops is not None]
    budget = f" (about {_count(max(spent))} GFLOPs a run)" if spent else ""
    kinds = dict.fromkeys((f.scale, f.better) for f in found if f.metric)
    cells = [_compared(found, chosen, reference, scale, better) for scale, better in sorted(kinds, reverse=True)]
    read = " ".join(filter(None, cells)) or "Nothing has a result yet."
    return (
        f"{read} Seeds share data, batches and initial weights, on the track of {track}{budget}; Student's paired 95 % "
        "intervals. A word other than 'not separable' needs p ≤ .05 after Holm's correction over the suite's cells."
    )


def _compared(
    found: Sequence[ReferenceComparison], chosen: Sequence[Record], reference: str, scale: Scale, better: Better
) -> str:
    """What the cells of one kind of metric hold, a ratio or a difference; "" without any."""
    names = {f.metric for f in found if (f.scale, f.better) == (scale, better)}
    keys = {key.column: key for r in chosen for key in r.values if key.column in names}
    if not keys:
        return ""
    bases = {name: metric_basis(chosen, key) for name, key in keys.items()}
    metrics = ", ".join(f"`{name}`{f' ({basis})' * bool(basis)}" for name, basis in bases.items())
    side = "below" if better == "lower" else "above"
    if scale == "ratio":
        return (
            f"Each cell: {metrics} of the objective over that of `{reference}`, a ratio of geometric means over seeds; "
            f"{side} ×1 is better."
        )
    units = " and ".join(dict.fromkeys(u for r in chosen for key in keys.values() if (u := r.value(key).unit)))
    return (
        f"Each cell: {metrics} of the objective minus that of `{reference}`, a difference of means over seeds"
        f"{' in ' * bool(units)}{units}; {side} 0 is better."
    )


def _count(value: float) -> str:
    """Three digits, never with an exponent."""
    return f"{float(f'{value:.3g}'):,.12g}"
