"""The verdict: every objective of a suite against the one that the suite names as its reference, paired by seed.

It is made from rows alone. On a track of equal FLOPs it says which of them is the better use of the same compute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.common.run_spec import BY_CLOCK
from bench.common.statistics import Better, Comparison, Interval, Scale, holm
from bench.results import contrasts, leaderboard, tables, tuning_effect
from bench.results.convergence import no_verdict
from bench.results.metric_values import MetricKey
from bench.results.paired_cells import ALPHA, UNTESTED, compare_cells, failure, format_effect
from bench.results.records import Cell, Record, any_value, group_cells, metric_basis
from bench.results.track_words import budget_in_words

ACROSS = "a difference is as much one between kinds of energies and samplers as one between ways of training."
WORDS = ("better", "not separable", "equivalent", "undecided", "worse", *UNTESTED)


@dataclass(frozen=True)
class ReferenceComparison:
    """One objective against the reference on one data set.

    Attributes:
        effect: the ratio of the geometric means, objective over reference, or the difference of the means, as the
            metric's `scale` says. Its interval is Student's paired 95 %; where `simultaneous`, with Bonferroni's
            correction over all findings of the suite.
        p_value: two-sided, corrected over all findings of the suite, failed ones too, by Holm or like the interval;
            None where there is no test.
        word: one of `WORDS`; "better" and "worse" only where `p_value` is at most `ALPHA`; "equivalent" where a
            simultaneous interval lies within ×.8 to ×1.25; "no ratio" where a metric that is compared by ratio has a
            value that is not positive.
        simultaneous: whether the suite names contrasts: its cells are estimates beside them.
        energies: the class of the objective's energies, where it is not the reference's; else "".
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
    simultaneous: bool = False
    energies: str = ""


@dataclass(frozen=True)
class _Draft:
    """A finding before what else is tested is known."""

    finding: ReferenceComparison
    comparison: Comparison
    cells: tuple[Cell, Cell]
    key: MetricKey | None
    judged: bool  # whether its data set has a verdict


def compare_with_reference(records: Sequence[Record]) -> list[ReferenceComparison]:
    """Every non-control objective against its suite's reference, on each data set; empty where no suite names one.

    A seed at which either failed makes the pair "failed": leaving it out would reward failing.
    """
    groups: dict[tuple[str, str, str, str], dict[str, Cell]] = {}
    for (suite, track, device, objective, dataset), cell in group_cells(records).items():
        if cell.records[0].spec.reference:
            groups.setdefault((suite, track, device, dataset), {})[objective] = cell
    drafts = [
        draft
        for (suite, _, _, dataset), cells in groups.items()
        for tuned in (False, True)
        for draft in _drafts(suite, dataset, cells, tuned=tuned)
    ]
    tested: dict[str, dict[int, float]] = {}
    for k, draft in enumerate(drafts):
        if not draft.finding.word and draft.comparison.p_value is not None:
            tested.setdefault(draft.finding.suite, {})[k] = draft.comparison.p_value
    # a suite is the family: what else lies in a store must not change its words, nor must what failed
    families = Counter(draft.finding.suite for draft in drafts if draft.judged)
    adjusted = {k: p for suite, own in tested.items() for k, p in holm(own, families[suite]).items()}
    return [
        _estimated(draft, families[draft.finding.suite])
        if draft.finding.simultaneous
        else _judged(draft, adjusted.get(k))
        for k, draft in enumerate(drafts)
    ]


def _drafts(suite: str, dataset: str, entries: dict[str, Cell], *, tuned: bool) -> Iterator[_Draft]:
    """The objectives of a data set against the reference, without their words; tuned against tuned."""
    records = [record for cell in entries.values() for record in cell.records]
    key, unjudged = leaderboard.primary_key(records), no_verdict(records)
    simultaneous = any(record.spec.contrasts for record in records)
    reference = reference_name([record for record in records if record.spec.tuned == tuned] or records)
    # of any entry's: a cell that failed does not know
    about = any_value((record for cell in entries.values() for record in cell.completed), key)
    for objective, cell in entries.items():
        if objective == reference or cell.records[0].spec.unranked or cell.records[0].spec.tuned != tuned:
            continue
        rival = entries.get(reference, Cell())
        comparison = compare_cells(cell, rival, key, about.scale)
        word = unjudged or failure(cell, rival, key) or (comparison.difference.word == "no ratio") * "no ratio"
        gflops = cell.median("flops_train")
        finding = ReferenceComparison(
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
            simultaneous,
            _other_class(cell, rival),
        )
        yield _Draft(finding, comparison, (cell, rival), key, judged=not unjudged)


def _other_class(cell: Cell, rival: Cell) -> str:
    """The class of energies of an entry, if it is not that of the reference; else ""."""
    if not rival.records or cell.records[0].spec.energies == rival.records[0].spec.energies:
        return ""
    return cell.records[0].spec.energies


def reference_name(records: Sequence[Record]) -> str:
    """The name under which the reference of the records' suite is shown."""
    found = (r.objective for r in records if r.spec.reference == r.spec.objective.label and not r.spec.role)
    return next(found, records[0].spec.reference)


def _judged(draft: _Draft, p_value: float | None) -> ReferenceComparison:
    finding, mean = draft.finding, draft.comparison.difference.mean
    word = finding.word or "not separable"
    if not finding.word and p_value is not None and p_value <= ALPHA and mean is not None:
        word = "better" if (mean < 0) == (finding.better == "lower") else "worse"
    return replace(finding, p_value=p_value, word=word)


def _estimated(draft: _Draft, count: int) -> ReferenceComparison:
    """With an interval that is simultaneous over `count` findings, and the word that follows from it."""
    finding = draft.finding
    if finding.word or draft.comparison.p_value is None:
        return replace(finding, word=finding.word or "undecided")
    wide = compare_cells(*draft.cells, draft.key, finding.scale, 1 - ALPHA / count)
    low, high = wide.difference.low, wide.difference.high
    assert low is not None
    assert high is not None
    word = "undecided"
    if finding.scale == "ratio" and max(-low, high) <= contrasts.MARGIN:
        word = "equivalent"
    elif not low <= 0 <= high:
        word = "better" if (high < 0) == (finding.better == "lower") else "worse"
    return replace(finding, effect=wide.effect, p_value=min(1.0, count * draft.comparison.p_value), word=word)


def format_comparison(finding: ReferenceComparison) -> str:
    """A cell: "×0.35 (0.21 to 0.6): better", a difference with its sign, or why there is none."""
    effect = finding.effect
    if finding.word in UNTESTED or effect.mean is None:
        return finding.word
    return f"{format_effect(effect, finding.scale)}: {finding.word}"


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
    """The verdict of every suite among the records: its questions, then every cell against its reference.

    Where it asks no questions, a sentence an objective sums up the cells. Tuned runs stand beside default ones, too.
    """
    everything = compare_with_reference(records)
    parts = list(filter(None, [contrasts.contrasts_markdown(records)]))
    for suite in dict.fromkeys(f.suite for f in everything):
        found = [f for f in everything if f.suite == suite]
        chosen = [r for r in records if r.spec.suite == suite]
        reference = reference_name(chosen)
        lines: dict[str, dict[str, str]] = {}
        for f in found:
            name = f"{f.objective} ({f.energies})" if f.energies else f.objective
            lines.setdefault(f.objective, {"objective": name})[f.dataset] = format_comparison(f)
        parts.append(tables.markdown_table(pd.DataFrame(list(lines.values())).fillna("not run")))
        parts.append(reading(found, chosen, reference))
        if not found[0].simultaneous:
            parts.append(headline(found, reference))
    parts += filter(None, [tuning_effect.tuning_markdown(records)])
    return "\n\n".join(parts)


def reading(found: Sequence[ReferenceComparison], chosen: Sequence[Record], reference: str) -> str:
    """How a suite's verdict is read: the metrics, each by ratio or by difference, the track, the budget, the test."""
    track = " and ".join(sorted({str(r.spec.track).replace("_", " ") for r in chosen}))
    spent = [f.gflops for f in found if f.gflops is not None]
    budget = f" (about {_count(max(spent))} GFLOPs a run)" if spent else ""
    budget = _of_time(chosen) or budget
    kinds = dict.fromkeys((f.scale, f.better) for f in found if f.metric)
    cells = [_compared(found, chosen, reference, scale, better) for scale, better in sorted(kinds, reverse=True)]
    read = " ".join(filter(None, cells)) or "Nothing has a result yet."
    test = (
        "intervals. A word other than 'not separable' needs p ≤ .05 after Holm's correction over the suite's cells, "
        "failed ones included."
    )
    if any(f.simultaneous for f in found):
        test = (
            "intervals, simultaneous over the suite's cells (Bonferroni). The word follows from the interval: it "
            "leaves out equality, or a ratio's lies within ×0.8 to ×1.25 (equivalent), or it is undecided."
        )
    marked = dict.fromkeys(f.energies for f in found if f.energies)
    across = f" Entries marked {' or '.join(marked)} are of another class than the reference: {ACROSS}" * bool(marked)
    return (
        f"{read} Seeds share data, batches and initial weights, on the track of {track}{budget}; Student's paired 95 % "
        f"{test}{across}{f' {contrasts.BOTH_TUNED}' * any(record.spec.tuned for record in chosen)}"
    )


def _of_time(chosen: Sequence[Record]) -> str:
    """What a run may take where that is a time, in brackets; "" where it is not."""
    specs = [r.spec for r in chosen if r.spec.track in BY_CLOCK and not r.spec.reference_fit]
    said = " and ".join(sorted(set(map(budget_in_words, specs))))
    # a machine that does other work as well stretches the wall clock's seconds
    return f" ({said} a run; train s is of the wall clock)" if said else ""


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
