"""Whether the gate can see: what is equal passes, and what is injected is caught, in every gate run.

Mistakes are injected for real: another objective is run in an entry's place, a version takes more steps in its turn.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.common import exit_codes, paths
from bench.regression import suite, timing
from bench.regression.baseline import Baseline, Measured
from bench.regression.checks import Check, compare, exit_code
from bench.regression.quality import Pairs, paired_quality
from bench.regression.suite import OWN, Gated
from bench.regression.timing import Subject

COMMAND = "python -m bench regression --self-test --rounds 1"
QUARTER = 1.25  # in every run, where a tenth would be missed once in some twenty and break a sound gate


def of_baseline(head: Baseline, folder: Path, *, jobs: int | None, of: Gated = OWN) -> list[Check]:
    """Against a baseline: the same code twice, each of the suite's mistakes in its own part, and a lost cell.

    In somebody's own suite the mistakes are injected into objectives of the project, run in that suite's setting.
    """
    faults = planted(of)
    entries = list(dict.fromkeys(str(mistake["entry"]) for mistake in faults))
    again = suite.measure_suite(folder / "again", jobs=jobs, objectives=entries, of=of)
    first = head if of.own else suite.measure_suite(folder / "first", jobs=jobs, objectives=entries, of=of)
    equal = exit_code(compare(_only(first, again.cells), again))
    checks = [_check("the same code twice", "passes", equal == exit_codes.GOOD)]
    for k, mistake in enumerate(faults):
        ref = suite.reference(mistake["injected"])
        wrong = suite.measure_suite(folder / f"injected{k}", jobs=jobs, objectives=[ref], of=of)
        found = compare(first, injected(first, mistake["entry"], wrong))
        checks.append(_check(mistake["name"], f"is a regression of {mistake['part']}", caught(found, mistake["part"])))
    return [*checks, _check("a missing cell", "is undecided", undecided_without(head, sorted(head.cells)[0]))]


def of_comparison(
    folder: Path, *, jobs: int | None, of: Gated = OWN, margins: Mapping[str, float] | None = None
) -> list[Check]:
    """Against another commit: this tree twice in turns, a quarter more CPU time, and mistakes paired by seed."""
    wrong = [mistake for mistake in planted(of) if mistake["part"] == "quality"]
    allowed = suite.settings()["margins"] if margins is None else margins
    equal = Subject(wrong[0]["entry"])
    slow = replace(equal, injected=QUARTER)
    here = suite.Tree(of.folder, code=paths.ROOT)
    timed = timing.compare_times(here, here, of.file, [equal, slow])
    checks = [
        _check("the same code in turns", "is not dearer", timed[equal].outcome != "regression", str(timed[equal])),
        _check("a quarter more CPU time", "is dearer", timed[slow].outcome == "regression", str(timed[slow])),
    ]

    def measure(cells: Collection[str] | None, seeds: range) -> Mapping[str, Pairs]:
        def run(ref: str, name: str) -> Measured:
            at = range(seeds[-1] + 1)
            found = suite.measure_suite(folder / name, jobs=jobs, objectives=[suite.reference(ref)], seeds=at, of=of)
            return next(iter(found.cells.values()))

        sides = {str(m["name"]): (run(m["entry"], m["entry"]), run(m["injected"], f"{k}")) for k, m in enumerate(wrong)}
        sides["the same code paired"] = (sides[str(wrong[0]["name"])][0], run(wrong[0]["entry"], "again"))
        return {metric: {name: _pairs(*cells, metric) for name, cells in sides.items()} for metric in allowed}

    for check in paired_quality(measure, allowed, lambda _: COMMAND):
        same = check.cell == "the same code paired"
        wanted = "pass" if same else "regression"
        checks.append(_check(check.cell, "passes" if same else "is a regression", check.outcome == wanted, check.after))
    return checks


def injected_faults() -> list[dict[str, Any]]:
    """What the suite plants: name, part, entry, injected."""
    found: list[dict[str, Any]] = suite.settings()["injected"]
    return found


def planted(of: Gated) -> list[dict[str, Any]]:
    """The mistakes that can be seen in a suite: what detunes an objective on our data may tune it on another's."""
    found = injected_faults()
    return [f for f in found if of.own or f["part"] == "work" or f["injected"].endswith(".py")]


def injected(head: Baseline, entry: str, wrong: Baseline) -> Baseline:
    """What was injected takes the name of what it replaces."""
    renamed = {f"{entry} on {name.partition(' on ')[2]}": cell for name, cell in wrong.cells.items()}
    return replace(head, cells={**head.cells, **renamed})


def _only(head: Baseline, names: Collection[str]) -> Baseline:
    return replace(head, cells={name: cell for name, cell in head.cells.items() if name in names})


def undecided_without(head: Baseline, lost: str) -> bool:
    """Whether the gate misses a cell."""
    return exit_code(compare(head, _only(head, head.cells.keys() - {lost}))) == exit_codes.UNDECIDED


def _pairs(before: Measured, after: Measured, metric: str) -> list[tuple[float, float]]:
    old, new = before.quality.get(metric, {}), after.quality.get(metric, {})
    values = ([math.inf if (v := side.get(seed)) is None else v for seed in before.status] for side in (old, new))
    return list(zip(*values, strict=True))


def caught(checks: Sequence[Check], part: str) -> bool:
    """Whether the part that should see a mistake calls it a regression."""
    return any(check.part == part and check.outcome == "regression" for check in checks)


def _check(injected: str, rule: str, right: bool, seen: str = "") -> Check:
    word = ("caught" if rule.startswith("is") else "passed") if right else f"not so{': ' * bool(seen)}{seen}"
    return Check("self-test", injected, rule, "pass" if right else "undecided", "injected", word, rule, COMMAND)
