"""The questions that a suite names before it is run: each the mean over the data sets of log entry / reference.

A suite's primary contrasts are one family. Of each the estimate is the mean, over the data sets, of the paired log
ratio of the primary metric; a seed gives one such mean, and the test is Student's over the seeds. What differs between
data sets stands beside the mean: the lowest and the highest, a test of whether they differ, and every single one with
its interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bench.common.run_spec import ACROSS, CONDITIONAL, STATIC, ContrastSpec
from bench.common.statistics import (
    Better,
    Comparison,
    Interval,
    Scale,
    equivalence_p,
    holm,
    interaction_p,
    paired,
    seeds_to_decide,
)
from bench.results import leaderboard, tables
from bench.results.convergence import no_verdict
from bench.results.metric_values import MetricKey
from bench.results.paired_cells import ALPHA, compare_cells, failure, format_effect, values_by_seed
from bench.results.records import BoardKey, Cell, Record, any_value, by_dataset

MARGIN = math.log(1.25)  # ratios within ×.8 to ×1.25 are equivalent
MOST_SEEDS = 1000
TUNED = " (tuned)"  # after a question's name where both sides have the settings that `tune` chose
BOTH_TUNED = (
    "Where it says tuned, both sides have the settings chosen for them on each data set, the number of a chain's steps "
    "too, whatever a name says of it."
)
CLASSES = {
    STATIC: "**Static energies**, E(x). A difference here is one between ways to train such an energy.",
    CONDITIONAL: "**Noise-conditional energies**, E(x, σ), which are told the noise level. A difference here is one "
    "between ways to train such an energy, with the sampler that comes with each.",
    ACROSS: "**Across the classes**. A difference here is as much one between a static and a noise-conditional energy, "
    "and between their samplers, as one between ways of training.",
}
"""What is said above the answers about a class of energies."""
REASONS = ("under-fits", "not run", "failed", "reference failed", "no common metric", "no ratio")
SKEWED_ERRORS = {(5, 1): 0.12, (5, 4): 0.08, (16, 1): 0.09, (16, 4): 0.06}
"""By (seeds, data sets): how often a test at 5 % errs where log ratios have an exponential law, by simulation."""


@dataclass(frozen=True)
class Part:
    """A contrast on one data set.

    Attributes:
        effect: with an interval that is simultaneous over all parts of the suite's contrasts (Bonferroni).
        word: why there is none: "failed", "reference failed", "not run" or "no ratio"; else "". A data set on which
            only the reference failed is left out of the mean, which can hide a lead of the entry and no other.
    """

    dataset: str
    effect: Interval
    word: str


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    Attributes:
        effect: geometric mean over the data sets of entry / reference, or the mean difference, as `scale` says; its
            interval is simultaneous over the family (Bonferroni).
        p_value: two-sided, of no difference on average; Holm-corrected over the family.
        equivalence: the p-value of not lying within ×.8 to ×1.25, Holm-corrected over the family.
        interaction: the p-value of equal ratios on all data sets.
        word: "better", "worse", "equivalent", "undecided", or why nothing can be said. Equivalent goes before
            better and worse: a difference that is shown to be within the margin counts as none.
        seeds: how many would decide, if mean and spread are what was seen; None if decided, or beyond `MOST_SEEDS`.
        family: the suite's questions, those that nothing can be said of included; default and tuned settings are
            families apart.
    """

    board: BoardKey
    contrast: ContrastSpec
    metric: str
    scale: Scale
    better: Better
    parts: tuple[Part, ...]
    effect: Interval
    p_value: float | None = None
    equivalence: float | None = None
    interaction: float | None = None
    word: str = ""
    seeds: int | None = None
    family: int = 1


@dataclass(frozen=True)
class _Draft:
    """A contrast before what else is asked is known; `values` (n seeds, K data sets), on the metric's scale."""

    finding: Finding
    values: np.ndarray | None
    pairs: tuple[tuple[str, Cell, Cell, MetricKey | None], ...]

    @property
    def means(self) -> list[float]:
        """The mean over the data sets at each seed."""
        return [] if self.values is None else [float(v) for v in self.values.mean(1)]


def asked(records: Iterable[Record]) -> list[ContrastSpec]:
    """The contrasts that the suites of the records name."""
    return list(dict.fromkeys(contrast for record in records for contrast in record.spec.contrasts))


def answer(records: Iterable[Record]) -> list[Finding]:
    """Every contrast of every board, corrected over those of its board, of default and of tuned settings apart."""
    boards: dict[BoardKey, list[Record]] = {}
    for record in records:
        boards.setdefault(record.board, []).append(record)
    return [
        finding
        for board, own in boards.items()
        for tuned in sorted({record.spec.tuned for record in own})
        # reference fits are no entries, and are not tuned
        for finding in _family(board, [r for r in own if r.spec.tuned == tuned or r.spec.reference_fit], tuned=tuned)
    ]


def _family(board: BoardKey, records: Sequence[Record], *, tuned: bool) -> list[Finding]:
    if all(record.spec.reference_fit for record in records):
        return []
    drafts = [_draft(board, contrast, records, tuned=tuned) for contrast in asked(records)]
    tests = {k: _test(draft, 1 - ALPHA) for k, draft in enumerate(drafts) if draft.values is not None}
    different = holm({k: test.p_value for k, test in tests.items() if test.p_value is not None}, len(drafts))
    within = {k: equivalence_p(drafts[k].means, MARGIN) for k in tests if drafts[k].finding.scale == "ratio"}
    equal = holm({k: p for k, p in within.items() if p is not None}, len(drafts))
    count = sum(len(draft.pairs) for draft in drafts)
    found = []
    for k, draft in enumerate(drafts):
        parts = (*_parts(draft, 1 - ALPHA / max(count, 1)), *draft.finding.parts)
        finding = replace(draft.finding, parts=parts, family=len(drafts))
        if k in tests and draft.values is not None:
            finding = replace(
                finding,
                effect=_test(draft, 1 - ALPHA / len(drafts)).effect,
                p_value=different.get(k),
                equivalence=equal.get(k),
                interaction=interaction_p(draft.values),
            )
            word = _word(finding, tests[k].difference.mean)
            seeds = _more_seeds(draft, ALPHA / len(drafts)) if word == "undecided" else None
            finding = replace(finding, word=word, seeds=seeds)
        found.append(finding)
    return found


def _draft(board: BoardKey, contrast: ContrastSpec, records: Sequence[Record], *, tuned: bool) -> _Draft:
    pairs, kinds = [], set()
    left_out = {dataset: why for dataset, on_it in by_dataset(records).items() if (why := no_verdict(on_it))}
    about = any_value([], None)
    for dataset, on_it in by_dataset(records).items():
        if dataset in left_out:
            continue
        key = leaderboard.primary_key(on_it, contrast.metric)
        ours, theirs = (_cell(on_it, name) for name in (contrast.entry, contrast.reference))
        pairs.append((dataset, ours, theirs, key))
        found = any_value([record for record in on_it if record.status == "ok"], key)
        if key:
            about = found
            kinds.add((key.stem, found.scale, found.better))
    metric = next((key.column for *_, key in pairs if key), "")
    asking = replace(contrast, name=contrast.name + TUNED) if tuned else contrast
    unseen = tuple(Part(dataset, Interval(None, None, None, 0), why) for dataset, why in left_out.items())
    finding = Finding(board, asking, metric, about.scale, about.better, unseen, Interval(None, None, None, 0))
    states = [failure(ours, theirs, key) for _, ours, theirs, key in pairs]
    compared = [pair for pair, state in zip(pairs, states, strict=True) if state != "reference failed"]
    words = set(states) - {"", *(["reference failed"] if compared else [])}
    if len(kinds) > 1:
        words.add("no common metric")
    values = None if words or not pairs else _values(compared, about.scale)
    if values is None and not words:
        words.add("no ratio")
    if not pairs:
        words.update(left_out.values())
    reason = next((word for word in REASONS if word in words), "")
    return _Draft(replace(finding, word=reason), values, tuple(pairs))


def _cell(records: Sequence[Record], entry: str) -> Cell:
    """The runs of an entry; none if two entries bear that name."""
    found = [record for record in records if record.spec.entry == entry and not record.spec.reference_fit]
    return Cell(found if len({record.objective for record in found}) == 1 else [])


def _values(pairs: Sequence[tuple[str, Cell, Cell, MetricKey | None]], scale: Scale) -> np.ndarray | None:
    """Entry less reference, or the log of their ratio, at the seeds that all have, (n, K); None without a ratio."""
    sides = [(values_by_seed(ours, key), values_by_seed(theirs, key)) for _, ours, theirs, key in pairs]
    seeds = sorted(set.intersection(*(set(side) for both in sides for side in both)))
    table = np.array([[[side[seed] for side in both] for both in sides] for seed in seeds], dtype=float)
    if not seeds or (scale == "ratio" and (table <= 0).any()):
        return None
    table = np.log(table) if scale == "ratio" else table
    found: np.ndarray = table[..., 0] - table[..., 1]
    return found


def _test(draft: _Draft, level: float) -> Comparison:
    """Student's test of the means over the data sets."""
    means = draft.means
    found = paired(means, [0.0] * len(means), level)
    return replace(found, scale=draft.finding.scale)


def _parts(draft: _Draft, level: float) -> tuple[Part, ...]:
    found = []
    for dataset, ours, theirs, key in draft.pairs:
        word = failure(ours, theirs, key)
        effect = compare_cells(ours, theirs, key, draft.finding.scale, level).effect
        if word or effect.mean is None:
            word = word or "no ratio"
            effect = Interval(None, None, None, 0, word)
        found.append(Part(dataset, effect, word))
    return tuple(found)


def _word(finding: Finding, mean: float | None) -> str:
    if finding.equivalence is not None and finding.equivalence <= ALPHA:
        return "equivalent"
    if finding.p_value is not None and finding.p_value <= ALPHA and mean is not None:
        return "better" if (mean < 0) == (finding.better == "lower") else "worse"
    return "undecided"


def _more_seeds(draft: _Draft, alpha: float) -> int | None:
    means = draft.means
    if len(means) < 2:
        return None
    margin = MARGIN if draft.finding.scale == "ratio" else None
    return seeds_to_decide(float(np.mean(means)), float(np.std(means, ddof=1)), alpha, margin, most=MOST_SEEDS)


def answers_frame(found: Sequence[Finding]) -> pd.DataFrame:
    """A line a question: the answer, the mean over the data sets, and what it averages over."""
    return pd.DataFrame([_line(finding) for finding in found])


def parts_frame(found: Sequence[Finding]) -> pd.DataFrame:
    """A line a question, a column a data set: estimates with simultaneous intervals."""
    lines = [
        {"question": f.contrast.name, **{p.dataset: p.word or format_effect(p.effect, f.scale) for p in f.parts}}
        for f in found
    ]
    return pd.DataFrame(lines).fillna("not run")


def _line(finding: Finding) -> dict[str, str]:
    known = sorted((p for p in finding.parts if p.effect.mean is not None), key=lambda p: p.effect.mean or 0.0)
    ends = (known[0], known[-1]) if known else ()
    lowest, highest = (
        (f"{_number(p.effect.mean, finding.scale)} on {p.dataset}" for p in ends) if ends else ("n/a", "n/a")
    )
    return {
        "question": finding.contrast.name,
        "answer": answer_in_words(finding),
        "mean over the data sets": "n/a"
        if finding.effect.mean is None
        else format_effect(finding.effect, finding.scale),
        "p": format_p(finding.p_value),
        "lowest": lowest,
        "highest": highest,
        "do the data sets differ?": _differ(finding),
    }


def answer_in_words(finding: Finding) -> str:
    """The answer with what qualifies it: where it fails or is the opposite, or how many seeds would decide."""
    if finding.word in REASONS:
        where = [p.dataset for p in finding.parts if p.word == finding.word] or [
            p.dataset for p in finding.parts if p.word
        ]
        return f"{finding.word} on {', '.join(where)}" if where else finding.word
    without = f" ({left_out})" if (left_out := _left_out(finding)) else ""
    if finding.word != "undecided":
        return finding.word + _against(finding) + without
    if finding.effect.word:
        return f"undecided ({finding.effect.word}){without}"
    seeds = f"more than {MOST_SEEDS:,}" if finding.seeds is None else f"about {finding.seeds}"
    return f"undecided ({seeds} seeds would decide){without}"


def qualified(finding: Finding) -> str:
    """What has to stand beside an estimate, such as ", but worse on grid"; or ""."""
    against = "" if finding.word == "undecided" else _against(finding)
    return against + (f", {left_out}" if (left_out := _left_out(finding)) else "")


def _left_out(finding: Finding) -> str:
    names = [p.dataset for p in finding.parts if p.word == "reference failed"]
    return f"without {', '.join(names)}, where the reference failed" if names else ""


def _against(finding: Finding) -> str:
    """The data sets on which a simultaneous interval shows the opposite of the answer, or that it is no equivalence."""
    opposite = {"better": ("worse",), "worse": ("better",), "equivalent": ("better", "worse")}[finding.word]
    shown: dict[str, list[str]] = {}
    for part in finding.parts:
        if (side := _side(part.effect, finding)) in opposite:
            shown.setdefault(side, []).append(part.dataset)
    return "".join(f", but {side} on {', '.join(names)}" for side, names in shown.items())


def _side(effect: Interval, finding: Finding) -> str:
    if effect.low is None or effect.high is None:
        return ""
    equal = 1.0 if finding.scale == "ratio" else 0.0
    if effect.low <= equal <= effect.high:
        return ""
    return "better" if (effect.high < equal) == (finding.better == "lower") else "worse"


def _differ(finding: Finding) -> str:
    if finding.interaction is None:
        return "n/a"
    return f"{'yes' if finding.interaction <= ALPHA else 'not shown'} (p {format_p(finding.interaction, '= ')})"


def _number(value: float | None, scale: Scale) -> str:
    return format_effect(Interval(value, None, None, 0), scale).removesuffix(" ()")


def format_p(value: float | None, equals: str = "") -> str:
    """ "< .001", ".033" after `equals`, or "n/a"."""
    if value is None:
        return "n/a"
    return "< .001" if value < 0.001 else f"{equals}{value:.3f}".replace("0.", ".", 1)


def reading(found: Sequence[Finding]) -> str:
    """How the answers are read, and how far their error rates hold."""
    first = found[0]
    tuned = any(f.contrast.name.endswith(TUNED) for f in found)
    apart = ", of tuned settings apart" if tuned else ""
    side = "below" if first.better == "lower" else "above"
    ratio = f"the geometric mean over the data sets of the ratio of `{first.metric}`, entry over reference; {side} ×1"
    difference = f"the mean over the data sets of the difference of `{first.metric}`, entry less reference; {side} 0"
    equivalent = "*equivalent*: it is shown to lie within ×0.8 to ×1.25 (two one-sided tests, Holm-corrected). "
    errors = ", ".join(
        f"{rate:.0%} on {count} data set{'s' * (count > 1)} at {seeds} seeds"
        for (seeds, count), rate in SKEWED_ERRORS.items()
    ).replace("%", " %")
    return (
        f"The questions of the suite's file. Each: {ratio if first.scale == 'ratio' else difference} is "
        "better. *better*, *worse*: Student's test over the seeds, p ≤ .05 after Holm's correction over the suite's "
        f"{first.family} questions{apart}; one without an answer counts as not rejected. "
        f"{equivalent * (first.scale == 'ratio')}"
        f"{f'{BOTH_TUNED} ' * tuned}"
        "Intervals are simultaneous 95 % (Bonferroni): of the means over the questions, of single data sets over all "
        "of theirs. Whether the data sets differ: repeated measures with Greenhouse and Geisser's correction; where "
        "they do, the mean is no answer for each of them, and it is one for no others. All of it takes log ratios as "
        f"about normal over seeds: as skewed as an exponential law, a test at 5 % errs in {errors}, and a sign-flip "
        "test as often."
    )


def verdicts(found: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    """The answers of one board by what they are about, a class of energies and a metric, each with its title.

    The title is "" where all are about one class.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in found:
        groups.setdefault((finding.contrast.energies, finding.metric), []).append(finding)
    several = len({energies for energies, _ in groups}) > 1
    return [(CLASSES.get(energies, "") if several else "", own) for (energies, _), own in groups.items()]


def contrasts_markdown(records: Sequence[Record]) -> str:
    """The answers to the questions of the records' suites: two tables and how they are read; "" where none asks any."""
    by_board: dict[BoardKey, list[Finding]] = {}
    for finding in answer(records):
        by_board.setdefault(finding.board, []).append(finding)
    parts = []
    for found in by_board.values():
        for title, own in verdicts(found):
            parts += [
                *filter(None, [title]),
                tables.markdown_table(answers_frame(own)),
                reading(own),
                tables.markdown_table(parts_frame(own)),
            ]
    return "\n\n".join(parts)
