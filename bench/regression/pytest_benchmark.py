"""pytest-benchmark's files, before and after, under the gate's own rule for time.

Files come in turns: before, after, and again after, before, each written in a process of its own by
`tox -e bench -- --benchmark-json=FILE`. A benchmark is dearer if the lower 99 % bound of the ratio of its medians lies
above ×1.05 in both turns, and passes if the upper one lies below ×1.075 in one. One turn cannot convict, since a
process has a pace of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.common.statistics import median_interval
from bench.regression.baseline import IncomparableError
from bench.regression.checks import Check, Outcome
from bench.regression.timing import HARMLESS, LIMIT

LEVEL = 0.99  # two-sided: a bound of a ratio needs one bound of either median, and holds with probability .99
COMMAND = "tox -e bench -- --benchmark-json=again.json"
Rounds = Mapping[str, Sequence[float]]
"""{benchmark: seconds of each round}."""


@dataclass(frozen=True)
class Ratio:
    """after / before of two medians, with its bounds; NaN and infinite where there are too few rounds."""

    middle: float
    low: float
    high: float

    @property
    def dearer(self) -> bool:
        return self.low > LIMIT

    @property
    def least_seen(self) -> float:
        """The smallest ratio that would have been called dearer through this noise."""
        return LIMIT * self.middle / self.low if self.low > 0 else math.inf

    def __str__(self) -> str:
        return f"×{self.middle:.3f} ({self.low:.3f} to {self.high:.3f})"


def compare_benchmarks(paths: Sequence[Path]) -> list[Check]:
    """One check a benchmark; one that is not in every file is undecided. A self-test on the same numbers follows.

    Raises:
        UsageError: if the files are not 2 or 4.
        IncomparableError: if one is missing, torn, of something else, without rounds, or of another machine.
    """
    if len(paths) not in (2, 4):
        raise UsageError(f"--benchmark is given 2 or 4 times: before, after[, after, before]; got {len(paths)}")
    files = [_load(path) for path in paths]
    for key in ("machine", "timer"):
        if len(found := {str(file[key]) for file in files}) > 1:
            raise IncomparableError(f"benchmarks compare on one {key}; these files are of {', '.join(sorted(found))}")
    rounds = [file["rounds"] for file in files]
    turns = [rounds[:2], rounds[:1:-1]][: len(rounds) // 2]  # (before, after), although the second pair came reversed
    return [*judge(turns, str(files[0]["timer"])), *_self_test(rounds[0])]


def judge(turns: Sequence[Sequence[Rounds]], timer: str) -> list[Check]:
    """The checks of pairs (before, after)."""
    checks = []
    rule = f"upper 99 % bound below ×{HARMLESS}" + ", in one of two turns" * (len(turns) > 1)
    for name in sorted({name for turn in turns for side in turn for name in side}):
        absent = sum(name not in side for turn in turns for side in turn)
        if absent:
            gone = f"not in {absent} of {2 * len(turns)} files"
            checks.append(Check("benchmark", name, timer, "undecided", "×1", gone, "in every file", _again(name)))
            continue
        ratios = [ratio(before[name], after[name]) for before, after in turns]
        outcome, words = _outcome(ratios)
        seen = ", then ".join(map(str, ratios)) + words
        checks.append(Check("benchmark", name, timer, outcome, "×1", seen, rule, _again(name)))
    return checks


def ratio(before: Sequence[float], after: Sequence[float]) -> Ratio:
    """The ratio of the medians, and bounds from the order statistics of both."""
    old, new = median_interval(before, LEVEL), median_interval(after, LEVEL)
    middle = (new.mean or math.nan) / (old.mean or math.nan)
    if old.low is None or old.high is None or new.low is None or new.high is None or not old.low > 0:
        return Ratio(middle, math.nan, math.nan)
    return Ratio(middle, new.low / old.high, new.high / old.low)


def _outcome(ratios: Sequence[Ratio]) -> tuple[Outcome, str]:
    if all(found.dearer for found in ratios):
        if len(ratios) > 1:
            return "regression", ""
        return "undecided", "; dearer once: give a second pair of files, after and before"
    if any(found.high < HARMLESS for found in ratios):
        return "pass", ""
    least = min(found.least_seen for found in ratios)
    return "undecided", f"; ×{least:.3g} is the least that could be seen: ask for more rounds"


def _self_test(rounds: Rounds) -> list[Check]:
    """The same numbers pass; a quarter more of each, where an interval can be given at all, is caught."""
    slower = {name: [1.25 * seconds for seconds in found] for name, found in rounds.items()}
    checks = []
    for name, side, wanted in (("the same numbers", rounds, "pass"), ("a quarter more seconds", slower, "regression")):
        found = {check.outcome for check in judge([(rounds, side), (rounds, side)], "")}
        right = found <= {wanted, "undecided"} and wanted in found
        word = "as it must" if right else f"not so: {', '.join(sorted(found)) or 'no benchmark'}"
        rule = "passes" if wanted == "pass" else "is a regression"
        checks.append(Check("self-test", name, rule, "pass" if right else "undecided", "injected", word, rule, COMMAND))
    return checks


def _load(path: Path) -> dict[str, Any]:
    way_out = f"write it by `tox -e bench -- --benchmark-json={path}`"
    try:
        plain = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise IncomparableError(f"there is no benchmark file '{path}': {error.strerror}; {way_out}") from None
    except ValueError as error:
        raise IncomparableError(f"the benchmark file '{path}' is torn ({error}); {way_out}") from None
    try:
        machine, found = plain["machine_info"], plain["benchmarks"]
        rounds = {str(b["fullname"]): [float(seconds) for seconds in b["stats"]["data"]] for b in found}
        timers = sorted({str(b["options"]["timer"]) for b in found})
        name = f"{machine['system']} {machine['machine']} {machine.get('cpu', {}).get('brand_raw', '')}".strip()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IncomparableError(
            f"'{path}' is not a file of pytest-benchmark with its rounds (lacks {error}); {way_out}"
        ) from None
    if not all(math.isfinite(seconds) for seconds in (s for data in rounds.values() for s in data)):
        raise IncomparableError(f"'{path}' holds a time that is not a number; {way_out}")
    return {"rounds": rounds, "timer": " ".join(timers) or "no timer", "machine": name}


def _again(name: str) -> str:
    """What measures one benchmark into another file; `-k` takes no brackets."""
    return f"{COMMAND} -k '{name.partition('::')[2].replace('[', ' and ').rstrip(']')}'"
