"""How often the gate is wrong on this machine: its false alarms at equal code, its catches of what is injected."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bench.common import exit_codes, paths
from bench.common.git import current_commit
from bench.common.statistics import success_rate
from bench.regression import checks, suite
from bench.regression.baseline import Baseline, Measured
from bench.regression.self_test import caught, injected, injected_faults, undecided_without
from bench.regression.timing import BLOCKS, PAIRS, Subject, compare_times
from bench.results.tables import markdown_table as table_of

TENTH = 1.1
_LEGEND = (
    "Time: {blocks} blocks of turns (before, after, after, before) of CPU time in a pair of processes, and further "
    "pairs, at most {pairs} in all, until it is decided; the tenth more is eleven steps for ten. A round is the whole "
    "verdict on one entry. Work: counted anew in every round. Quality: three pinned seeds a round, of which one is "
    "new. The interval is Wilson's, at 95 %."
)


@dataclass(frozen=True)
class Rate:
    """How often the gate objected.

    Attributes:
        target: the least share of rounds; 0 where nothing was injected, and then none may be; None where it is only
            reported.
    """

    part: str
    injected: str
    seen: int
    rounds: int
    target: float | None

    @property
    def met(self) -> bool:
        """Whether the target is reached, or there is none."""
        if self.target is None:
            return True
        return self.seen == 0 if self.target == 0 else self.seen >= self.target * self.rounds


@dataclass(frozen=True)
class Rates:
    """What was found, and where.

    Attributes:
        load: the machine's load averages over a minute, at the beginning and at the end.
    """

    rates: list[Rate]
    rounds: int
    host: str
    commit: str
    date: str
    seconds: float
    load: tuple[float, float]


def error_rates(rounds: int, *, jobs: int | None) -> Rates:
    """False alarms and catches in so many rounds; the entries share a pair of processes, as all do in the gate."""
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = [*_time(rounds), *_work(rounds)]
        head = _runs(_of("quality")[0]["entry"], rounds, folder / "head", jobs)
        found += _quality(head, rounds, folder, jobs)
    lost = sum(undecided_without(_seeds(head, k), next(iter(head.cells))) for k in range(rounds))
    found.append(Rate("completeness", "a missing cell", lost, rounds, 1.0))
    return Rates(
        found,
        rounds,
        head.host,
        current_commit() or "unknown",
        datetime.now(UTC).date().isoformat(),
        time.monotonic() - began,
        (load, os.getloadavg()[0]),
    )


def _time(rounds: int) -> list[Rate]:
    entries = list(dict.fromkeys(str(mistake["entry"]) for mistake in injected_faults()))
    here = suite.Tree(paths.ROOT)
    outcomes: dict[float, list[str]] = {1.0: [], TENTH: []}
    while (left := rounds - len(outcomes[TENTH])) > 0:
        subjects = [Subject(entry, times) for entry in entries[:left] for times in outcomes]
        for subject, timing in compare_times(here, here, suite.FILE, subjects).items():
            done = outcomes[subject.injected]
            done.append(timing.outcome)
            said = (
                f"[{len(done)}/{rounds}] {subject.objective}, ×{subject.injected} injected: {timing.outcome}, {timing}"
            )
            print(said, file=sys.stderr, flush=True)
    return [
        Rate("time", "nothing", outcomes[1.0].count("regression"), rounds, 0.0),
        Rate("time", "nothing, and too noisy to tell", outcomes[1.0].count("undecided"), rounds, None),
        Rate("time", "a tenth more CPU time", outcomes[TENTH].count("regression"), rounds, 0.95),
    ]


def _work(rounds: int) -> list[Rate]:
    found = []
    for mistake in _of("work"):
        for ref, name, target in ((mistake["entry"], "nothing", 0.0), (mistake["injected"], mistake["name"], 1.0)):
            seen = 0
            for seed in range(rounds):
                before, after = (_counted(side, seed) for side in (mistake["entry"], ref))
                seen += caught(checks.work(before, after), "work")
            found.append(Rate("work", name, seen, rounds, target))
    return found


def _quality(head: Baseline, rounds: int, folder: Path, jobs: int | None) -> list[Rate]:
    again = _runs(_of("quality")[0]["entry"], rounds, folder / "again", jobs)
    alarms = sum(
        checks.exit_code(checks.compare(_seeds(head, k), _seeds(again, k))) != exit_codes.GOOD for k in range(rounds)
    )
    found = [Rate("quality", "nothing", alarms, rounds, 0.0)]
    for number, mistake in enumerate(_of("quality")):
        wrong = injected(head, mistake["entry"], _runs(mistake["injected"], rounds, folder / f"{number}", jobs))
        for name, side, target in (
            (mistake["name"], wrong, 1.0),
            (f"{mistake['name']}, as if accepted in another environment", replace(wrong, env_id=""), None),
        ):
            seen = sum(caught(checks.compare(_seeds(head, k), _seeds(side, k)), "quality") for k in range(rounds))
            found.append(Rate("quality", name, seen, rounds, target))
    return found


def _of(part: str) -> list[dict[str, Any]]:
    return [mistake for mistake in injected_faults() if mistake["part"] == part]


def _runs(ref: str, rounds: int, out: Path, jobs: int | None) -> Baseline:
    return suite.measure_suite(out, jobs=jobs, objectives=[suite.reference(ref)], seeds=range(rounds + 2))


def _seeds(whole: Baseline, first: int) -> Baseline:
    """The same cells at three seeds."""
    at = [str(first + k) for k in range(3)]
    cells = {
        name: replace(
            cell,
            status={seed: cell.status[seed] for seed in at},
            quality={metric: {seed: values[seed] for seed in at} for metric, values in cell.quality.items()},
        )
        for name, cell in whole.cells.items()
    }
    return replace(whole, cells=cells)


def _counted(ref: str, seed: int) -> Baseline:
    import torch

    from bench.training.trainer import Trainer

    run = suite.planned([ref], [seed])[0]
    work = Trainer(run, seed, torch.device("cpu")).count()
    counts = {f"{name}_per_step": count for name, count in work.scaled(1).items()}
    return Baseline(suite.SUITE, "", {"cell": Measured({}, counts, {})})


def rates_markdown(found: Rates) -> str:
    """The page that is committed."""
    lines = []
    for rate in found.rates:
        interval = success_rate(rate.seen, rate.rounds)
        target = {None: "–", 0.0: "none", 1.0: "all"}.get(rate.target, f"at least {rate.target or 0:.0%}")
        lines.append(
            {
                "part": rate.part,
                "injected": rate.injected,
                "objected": f"{rate.seen} of {rate.rounds}",
                "interval": f"{interval.low or 0:.0%} to {interval.high or 0:.0%}",
                "target": target,
                "met": "yes" if rate.met else "no",
            }
        )
    head = f"`python -m bench regression --self-test --rounds {found.rounds}`, commit {found.commit[:10]}, {found.date}"
    load = f"load {found.load[0]:.1f} at the beginning and {found.load[1]:.1f} at the end"
    where = f"{found.host}; {load}; {found.seconds:.0f} s"
    legend = _LEGEND.format(blocks=BLOCKS, pairs=PAIRS)
    return f"# How often the gate is wrong\n\n{head}; {where}.\n\n{table_of(pd.DataFrame(lines))}\n\n{legend}"


def plain(found: Rates) -> str:
    """The same as JSON."""
    return json.dumps(asdict(found), indent=1) + "\n"


FORMS = {".md": lambda found: rates_markdown(found) + "\n", ".json": plain}
