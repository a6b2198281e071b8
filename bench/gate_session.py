"""What `gate` and `accept` do: measure, hold against what was, plant mistakes to be caught, report, remember."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    baseline,
    gate,
    gate_against,
    gate_benchmarks,
    gate_rates,
    gate_report,
    gate_selftest,
    gate_suite,
    history,
)
from bench.baseline import IncomparableError
from bench.errors import UsageError
from bench.gate import Check


@dataclass(frozen=True)
class Request:
    """What a person asked the gate for.

    Attributes:
        against: a commit; `objectives` narrows that comparison.
        benchmarks: pytest-benchmark's files, before, after, after, before.
        history: the file that gets a line if a commit was held against the baseline.
    """

    baseline: Path | None = None
    against: str | None = None
    objectives: Sequence[str] | None = None
    benchmarks: Sequence[Path] = ()
    reports: Sequence[Path] = ()
    history: Path = Path("results/history.jsonl")
    jobs: int | None = None


def run(request: Request) -> int:
    """Every part that was asked for, in order, each with its self-test; reports, and returns the exit code.

    Raises:
        UsageError: if the suite, the commit, an objective or a report's place is not as it must be.
    """
    if request.objectives is not None and request.against is None:
        raise UsageError("--objective narrows a comparison with another commit; add --against REF")
    gate_report.require(request.reports, gate_report.FORMS)
    checks: list[Check] = []
    try:
        if request.baseline is not None:
            checks += _against_baseline(request, request.baseline)
        if request.against is not None:
            checks += gate_against.compare(request.against, objectives=request.objectives, jobs=request.jobs)
            with tempfile.TemporaryDirectory() as folder:
                checks += gate_selftest.of_comparison(Path(folder), jobs=request.jobs)
        if request.benchmarks:
            checks += gate_benchmarks.compare(request.benchmarks)
    except IncomparableError as error:
        print(f"bench: {error}", file=sys.stderr)
        return gate.UNDECIDED
    for report in request.reports:
        gate_report.save(gate_report.FORMS[report.suffix](checks), report)
    print(gate_report.markdown(checks))
    return gate.exit_code(checks)


def _against_baseline(request: Request, path: Path) -> list[Check]:
    accepted = baseline.load(path, gate_suite.NAME)
    with tempfile.TemporaryDirectory() as folder:
        head = gate_suite.measure(Path(folder) / "head", jobs=request.jobs)
        checks = [*gate.compare(accepted, head), *gate_selftest.of_baseline(head, Path(folder), jobs=request.jobs)]
    print(history.remember(request.history, head, checks), file=sys.stderr)
    return checks


def self_test(rounds: int, *, reports: Sequence[Path], jobs: int | None) -> int:
    """Prints how often the gate is wrong on this machine; returns 0 if its targets are met, else 4.

    Raises:
        UsageError: if the suite or a report's place is not as it must be.
    """
    if rounds < 1:
        raise UsageError(f"--rounds must be at least 1; got {rounds}")
    gate_report.require(reports, gate_rates.FORMS)
    found = gate_rates.rates(rounds, jobs=jobs)
    for report in reports:
        gate_report.save(gate_rates.FORMS[report.suffix](found), report)
    print(gate_rates.markdown(found))
    return gate.GOOD if all(rate.met for rate in found.rates) else gate.UNDECIDED


def accept(reason: str, path: Path, *, jobs: int | None) -> None:
    """Measures the working tree and writes it down as the new baseline.

    Raises:
        UsageError: if no reason is given, a run failed, or the place cannot be written to.
    """
    if not reason.strip():
        raise UsageError("a baseline is accepted for a reason; say it: --reason '...'")
    with tempfile.TemporaryDirectory() as folder:
        head = gate_suite.measure(Path(folder), jobs=jobs)
    failed = sorted(
        f"{name} (seed {s}: {w})" for name, c in head.cells.items() for s, w in c.status.items() if w != "ok"
    )
    if failed:
        raise UsageError(f"a baseline must be whole; these did not succeed: {', '.join(failed)}: mend them first")
    said = {
        "reason": reason.strip(),
        "commit": history.commit() or "unknown",
        "date": datetime.now(UTC).date().isoformat(),
    }
    baseline.save(replace(head, accepted=said), path)
    print(f"{len(head.cells)} cells accepted into {path}")
