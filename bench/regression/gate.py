"""What `regression` and `update-baseline` do: measure, compare, test themselves, report, append to the history."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from bench.common import exit_codes
from bench.common.errors import UsageError
from bench.common.git import CODE, current_commit
from bench.common.paths import BASELINE, USERS_BASELINE, results_folder
from bench.regression import against_commit, baseline, error_rates, history, pytest_benchmark, suite
from bench.regression.baseline import IncomparableError
from bench.regression.checks import Check, compare, exit_code
from bench.regression.report import REPORT_FORMATS, gate_markdown, require, save_reports
from bench.regression.self_test import of_baseline
from bench.regression.suite import OWN, Gated

MOST_ROUNDS = 100_000


@dataclass(frozen=True)
class Request:
    """What a person asked the gate for.

    Attributes:
        of: the suite that is gated. In the project's own, `objectives` narrow the comparison with `against`.
        against: a commit.
        benchmarks: pytest-benchmark's files, before, after, after, before.
        history: the file that gets a line if a commit was held against the baseline.
    """

    baseline: Path | None = None
    against: str | None = None
    of: Gated = OWN
    benchmarks: Sequence[Path] = ()
    reports: Sequence[Path] = ()
    history: Path = field(default_factory=lambda: results_folder() / "history.jsonl")
    jobs: int | None = None

    @property
    def options(self) -> str:
        """Of `update-baseline`, as this person gave them to `regression`."""
        changed = self.baseline not in (None, BASELINE if self.of.own else USERS_BASELINE)
        return self.of.options + (f" --baseline {shlex.quote(str(self.baseline))}" if changed else "")


def run_gate(request: Request) -> int:
    """Every part that was asked for, in order, each with its self-test; reports, and returns the exit code.

    Raises:
        UsageError: if the suite, the commit, an objective or a report's place is not as it must be.
    """
    if request.of.own and request.of.objectives is not None and request.against is None:
        raise UsageError("--objective selects from a comparison with another commit; add --against REF")
    require(request.reports, REPORT_FORMATS)
    checks: list[Check] = []
    try:
        if request.baseline is not None:
            checks += _against_baseline(request, request.baseline)
        if request.against is not None:
            checks += against_commit.compare_commits(request.against, of=request.of, jobs=request.jobs)
        if request.benchmarks:
            checks += pytest_benchmark.compare_benchmarks(request.benchmarks)
    except IncomparableError as error:
        print(f"bench: {error}", file=sys.stderr)
        return exit_codes.UNDECIDED
    for report in request.reports:
        save_reports(REPORT_FORMATS[report.suffix](checks, request.options), report)
    print(gate_markdown(checks, request.options))
    return exit_code(checks)


def _against_baseline(request: Request, path: Path) -> list[Check]:
    of = request.of
    accepted = baseline.load_baseline(path, of.name, request.options)
    with tempfile.TemporaryDirectory() as folder:
        head = suite.measure_suite(Path(folder) / "head", jobs=request.jobs, of=of)
        checks = [*compare(accepted, head), *of_baseline(head, Path(folder), jobs=request.jobs, of=of)]
    code = CODE if of.own else (":(top)*.py", ":(top)*.toml")
    print(history.append_history(request.history, head, checks, of.folder, code), file=sys.stderr)
    return checks


def self_test(rounds: int, *, reports: Sequence[Path], jobs: int | None) -> int:
    """Prints how often the gate is wrong on this machine; returns 0 if its targets are met, else 4.

    Raises:
        UsageError: if the suite or a report's place is not as it must be.
    """
    if rounds < 1:
        raise UsageError(f"--rounds must be at least 1; got {rounds}")
    if rounds > MOST_ROUNDS:
        raise UsageError(f"--rounds must be at most {MOST_ROUNDS}; got {rounds}")
    require(reports, error_rates.FORMS)
    found = error_rates.error_rates(rounds, jobs=jobs)
    for report in reports:
        save_reports(error_rates.FORMS[report.suffix](found), report)
    print(error_rates.rates_markdown(found))
    return exit_codes.GOOD if all(rate.met for rate in found.rates) else exit_codes.UNDECIDED


def update_baseline(reason: str, path: Path, *, jobs: int | None, of: Gated = OWN) -> None:
    """Measures the working tree and writes it down as the new baseline.

    Raises:
        UsageError: if no reason is given, a run failed, or the place cannot be written to.
    """
    if not reason.strip():
        raise UsageError("a baseline needs a reason; give --reason '...'")
    with tempfile.TemporaryDirectory() as folder:
        head = suite.measure_suite(Path(folder), jobs=jobs, of=of)
    failed = sorted(
        f"{name} (seed {s}: {w})" for name, c in head.cells.items() for s, w in c.status.items() if w != "ok"
    )
    if failed:
        raise UsageError(f"a baseline must be complete; these runs failed: {', '.join(failed)}; fix them first")
    said = {
        "reason": reason.strip(),
        "commit": current_commit(of.folder) or "unknown",
        "date": datetime.now(UTC).date().isoformat(),
    }
    baseline.save_baseline(replace(head, accepted=said), path)
    print(f"{len(head.cells)} cells written to baseline {path}")
