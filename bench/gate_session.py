"""What `gate` and `accept` do: measure the gate's suite, hold it against the baseline, plant mistakes to be caught."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import against as comparison
from bench import baseline, gate, gate_report, spec, table
from bench.baseline import Baseline
from bench.errors import UsageError
from bench.execute import execute
from bench.gate import Check
from bench.session import FAILED, WORKER, Progress, workers
from bench.spec import RunSpec
from bench.store import Store

SUITE = "gate"
SEEDS = (3, 6, 12)  # after each of these many, what is undecided goes on
ROOT = Path(__file__).resolve().parent.parent


def run(path: Path, *, jobs: int | None, reports: Sequence[Path]) -> int:
    """Holds the working tree against a baseline, plants the suite's mistakes, reports; returns the exit code.

    Raises:
        UsageError: if the suite or a report's place is not as it must be.
    """
    try:
        accepted = baseline.load(path)
    except baseline.BaselineError as error:
        print(f"bench: {error}", file=sys.stderr)
        return gate.UNDECIDED
    with tempfile.TemporaryDirectory() as folder:
        head = measure(Path(folder) / "head", jobs=jobs)
        checks = [*gate.compare(accepted, head), *self_test(head, Path(folder), jobs=jobs)]
    for report in reports:
        gate_report.write(checks, report)
    print(gate_report.markdown(checks))
    # a gate that cannot see is not green and not red
    broken = any(check.part == "self-test" and check.outcome != "pass" for check in checks)
    return gate.UNDECIDED if broken else gate.exit_code(checks)


def accept(reason: str, path: Path, *, jobs: int | None) -> None:
    """Measures the working tree and writes it down as the new baseline.

    Raises:
        UsageError: if no reason is given, a run that is no control failed, or the place cannot be written to.
    """
    if not reason.strip():
        raise UsageError("a baseline is accepted for a reason; say it: --reason '...'")
    with tempfile.TemporaryDirectory() as folder:
        head = measure(Path(folder), jobs=jobs)
    failed = sorted(
        f"{name} (seed {s}: {w})" for name, c in head.cells.items() for s, w in c.status.items() if w != "ok"
    )
    if failed:
        raise UsageError(f"a baseline must be whole; these did not succeed: {', '.join(failed)}: mend them first")
    said = {"reason": reason.strip(), "commit": commit(), "date": datetime.now(UTC).date().isoformat()}
    baseline.save(replace(head, accepted=said), path)
    print(f"{len(head.cells)} cells accepted into {path}")


def measure(out: Path, *, jobs: int | None, objectives: Sequence[str] | None = None) -> Baseline:
    """The gate's suite, or some objectives in its setting, run into a fresh store."""
    specs = _planned(objectives)
    execute(specs, Store(out), jobs=jobs or workers(specs), worker=WORKER, on_event=Progress())
    return baseline.measured(table.read(Store(out)), SUITE)


def _planned(objectives: Sequence[str] | None = None) -> list[RunSpec]:
    chosen = None if objectives is None else tuple(objectives)
    return spec.expand(spec.read_suite(SUITE), spec.Selection(objectives=chosen), "cpu")


def self_test(head: Baseline, folder: Path, *, jobs: int | None) -> list[Check]:
    """Whether the gate passes what is equal and catches what the suite plants, each run for real, and a lost cell."""
    mistakes: list[dict[str, Any]] = settings()["planted"]
    entries = [str(m["entry"]) for m in mistakes]
    again = measure(folder / "again", jobs=jobs, objectives=list(dict.fromkeys(entries)))
    equal = gate.exit_code(gate.compare(_only(head, again), again))
    checks = [_check("the same code twice", "passes", equal == gate.GOOD, equal)]
    for k, mistake in enumerate(mistakes):
        refs = [str(ROOT / mistake["planted"]) if str(mistake["planted"]).endswith(".py") else str(mistake["planted"])]
        wrong = measure(folder / f"planted{k}", jobs=jobs, objectives=refs)
        # what was planted takes the name of what it replaces
        renamed = {f"{mistake['entry']} on {name.partition(' on ')[2]}": c for name, c in wrong.cells.items()}
        planted = replace(head, cells={**head.cells, **renamed})
        code = gate.exit_code(gate.compare(head, planted))
        checks.append(_check(str(mistake["name"]), "is a regression", code == gate.REGRESSION, code))
    lost = sorted(head.cells)[0]
    without = replace(head, cells={name: cell for name, cell in head.cells.items() if name != lost})
    code = gate.exit_code(gate.compare(head, without))
    checks.append(_check("a missing cell", "is undecided", code == gate.UNDECIDED, code))
    return checks


def _only(head: Baseline, part: Baseline) -> Baseline:
    return replace(head, cells={name: cell for name, cell in head.cells.items() if name in part.cells})


def _check(planted: str, rule: str, caught: bool, code: int) -> Check:
    word = "caught" if caught else f"not caught: exit code {code}"
    return Check("self-test", planted, rule, "pass" if caught else "undecided", "planted", word, rule)


def settings() -> dict[str, Any]:
    """The gate's margins and what its self-test plants."""
    return tomllib.loads((ROOT / "bench" / "planted" / "gate.toml").read_text())


def against(ref: str, *, jobs: int | None, reports: Sequence[Path]) -> int:
    """Holds the working tree against another commit: time in turns, quality paired by seed; returns the exit code.

    Raises:
        UsageError: if there is no such commit, or its version cannot run the gate's suite.
    """
    suite = spec.SUITES / f"{SUITE}.toml"
    with comparison.checked_out(ref) as tree, tempfile.TemporaryDirectory() as folder:
        names = list(dict.fromkeys(planned.objective["name"] for planned in _planned()))
        common = [name for name in names if (tree / "objectives" / f"{name}.py").exists()]
        removed = {p.stem for p in (tree / "objectives").glob("*.py")} - set(names)
        checks = [
            Check("completeness", name, "presence", "undecided", "there", "gone", "the same objectives")
            for name in sorted(removed)
        ]
        checks += comparison.times(tree, ROOT, suite, common)
        trees = {"before": tree, "after": ROOT}
        checks += _paired_quality(trees, suite, common, Path(folder), jobs)
    for report in reports:
        gate_report.write(checks, report)
    print(gate_report.markdown(checks))
    return gate.exit_code(checks)


def _paired_quality(
    trees: Mapping[str, Path], suite: Path, names: list[str], folder: Path, jobs: int | None
) -> list[Check]:
    """Runs 3 seeds, then more of what is undecided, until nothing is or `SEEDS` are spent."""
    checks: dict[tuple[str, str], Check] = {}
    open_names = names
    for low, high in pairwise((0, *SEEDS)):
        stores = {}
        for side, tree in trees.items():
            stores[side] = folder / side
            _run_elsewhere(tree, suite, open_names, f"{low}-{high - 1}", stores[side], jobs)
        for metric, margin in settings()["margins"].items():
            pairs = _pairs({side: Store(store) for side, store in stores.items()}, metric)
            judged = comparison.judge({cell: v for cell, v in pairs.items() if cell in open_names}, margin)
            for cell, (outcome, seen) in judged.items():
                allowed = f"shown to be below ×{margin}"
                checks[metric, cell] = Check("paired quality", cell, metric, outcome, "×1", seen, allowed)
        open_names = sorted({cell for (_, cell), check in checks.items() if check.outcome == "undecided"})
        if not open_names:
            break
    return [checks[key] for key in sorted(checks)]


def _run_elsewhere(tree: Path, suite: Path, names: list[str], seeds: str, out: Path, jobs: int | None) -> None:
    command = [sys.executable, "-m", "bench", "run", "--suite", str(suite), "--objective", ",".join(names)]
    command += ["--seed", seeds, "--out", str(out), "--device", "cpu", *(["--jobs", str(jobs)] if jobs else [])]
    code = subprocess.run(command, cwd=tree, check=False, stdout=subprocess.DEVNULL).returncode
    if code not in (0, FAILED):
        raise UsageError(f"the version in '{tree}' cannot run the gate's suite: exit code {code}; see above")


def _pairs(stores: Mapping[str, Store], metric: str) -> dict[str, list[tuple[float, float]]]:
    """(before, after) by objective, at the seeds where there was a value before; infinity where there is none after."""
    values: dict[str, dict[tuple[str, int], float]] = {}
    for side, store in stores.items():
        values[side] = {
            (r.run.objective, r.run.seed): v
            for r in table.read(store)
            if (v := r.estimate(metric).get("value")) is not None
        }
    found: dict[str, list[tuple[float, float]]] = {}
    for name, seed in sorted(values["before"]):
        after = values["after"].get((name, seed), math.inf)
        found.setdefault(name, []).append((values["before"][name, seed], after))
    return found


def commit() -> str:
    """The commit of the working tree, "unknown" outside of one."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
