"""The gate's self-test: it lets a sound gate pass, and calls one broken that does not see what is injected."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.common import exit_codes
from bench.regression import against_commit, error_rates, gate, history, self_test, timing
from bench.regression import suite as suite_module
from bench.regression.baseline import Baseline, Measured
from bench.regression.checks import broken
from bench.regression.error_rates import Rate, Rates
from bench.regression.suite import OWN, SUITE, Gated, Tree, reference, settings
from bench.regression.timing import Subject, Timing
from tests.helpers.store_builder import Shelf

QUALITY = 0.2
Effect = dict[str, tuple[float, float]]
"""{reference: (factor of the work, factor of the quality's value)}."""


def effects() -> Effect:
    """What is injected does what its part of the gate should see."""
    found = {str(m["entry"]): (1.0, 1.0) for m in self_test.injected_faults()}
    for mistake in self_test.injected_faults():
        seen = (1.1, 1.0) if mistake["part"] == "work" else (1.0, 2.0)
        found[reference(mistake["injected"])] = seen
    return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Effect:
    """The gate's suite without running it: change the effects in place. Time is what was injected."""
    found, runs = effects(), [0]

    def measure(
        out: Path,
        *,
        jobs: int | None,
        objectives: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        of: Gated = OWN,
    ) -> Baseline:
        runs[0] += 1
        entries = list(dict.fromkeys(str(m["entry"]) for m in self_test.injected_faults()))
        cells = {}
        for ref in objectives or entries:
            work, quality = found.get(f"{ref}, run {runs[0]}", found[ref])
            # a ratio that varied with no seed at all would be judged by nobody
            own = {s: quality ** (1 + 0.02 * s) for s in seeds or range(3)}
            values: dict[str, float | None] = {str(s): q * QUALITY * (1 + 0.01 * s) for s, q in own.items()}
            metrics = dict.fromkeys(settings()["margins"], values)
            cells[f"{ref} on line"] = Measured(dict.fromkeys(values, "ok"), {"flops_per_step": 1e6 * work}, metrics)
        return Baseline(SUITE, "here", cells, host="a machine")

    def times(before: Tree, after: Tree, suite: Path, subjects: Sequence[Subject]) -> dict[Subject, Timing]:
        rounds = [1 + 0.001 * (k - 7) for k in range(15)]
        return {s: Timing([[s.injected * v for v in rounds]] * 2) for s in subjects}

    def counted(ref: str, seed: int) -> Baseline:
        return Baseline("", "", {"cell": Measured({}, {"flops": found[ref][0]}, {})})

    monkeypatch.setattr(suite_module, "measure_suite", measure)
    monkeypatch.setattr(timing, "compare_times", times)
    monkeypatch.setattr(error_rates, "compare_times", times)
    monkeypatch.setattr(error_rates, "_counted", counted)
    return found


def outcomes(folder: Path) -> dict[str, str]:
    head = suite_module.measure_suite(folder, jobs=1)
    return {check.cell: check.outcome for check in self_test.of_baseline(head, folder, jobs=1)}


def test_a_sound_gate_passes_its_self_test(world: Effect, tmp_path: Path) -> None:
    found = outcomes(tmp_path)
    assert {"the same code twice", "a missing cell"} < found.keys()
    assert {str(m["name"]) for m in self_test.injected_faults()} < found.keys()
    assert set(found.values()) == {"pass"}


@pytest.mark.parametrize("mistake", self_test.injected_faults(), ids=lambda m: str(m["name"]))
def test_a_mistake_that_is_not_seen_breaks_the_gate(mistake: dict[str, Any], world: Effect, tmp_path: Path) -> None:
    world[reference(mistake["injected"])] = (1.0, 1.0)
    found = outcomes(tmp_path)
    assert [name for name, outcome in found.items() if outcome != "pass"] == [mistake["name"]]


@pytest.mark.parametrize("mistake", self_test.injected_faults(), ids=lambda m: str(m["name"]))
def test_a_mistake_must_be_seen_by_its_own_part(mistake: dict[str, Any], world: Effect, tmp_path: Path) -> None:
    ref = reference(mistake["injected"])
    world[ref] = (1.0, 2.0) if mistake["part"] == "work" else (1.1, 1.0)
    assert outcomes(tmp_path)[str(mistake["name"])] == "undecided"


def test_the_same_code_with_other_numbers_breaks_the_gate(world: Effect, tmp_path: Path) -> None:
    entry = str(self_test.injected_faults()[0]["entry"])
    world[f"{entry}, run 2"] = (1.0, 1.01)
    assert outcomes(tmp_path)["the same code twice"] == "undecided"


def test_a_comparison_of_commits_tests_itself_on_time_and_on_paired_quality(world: Effect, tmp_path: Path) -> None:
    checks = self_test.of_comparison(tmp_path, jobs=1)
    assert {"the same code in turns", "a quarter more CPU time", "the same code paired"} < {c.cell for c in checks}
    assert not broken(checks)


@pytest.mark.parametrize("lost", ["time", "quality"])
def test_a_comparison_of_commits_that_sees_nothing_is_broken(
    lost: str, world: Effect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lost == "time":
        flat = Timing([[1 + 0.001 * k for k in range(15)]])
        monkeypatch.setattr(timing, "compare_times", lambda a, b, suite, subjects: dict.fromkeys(subjects, flat))
    else:
        for mistake in self_test.injected_faults():
            world[reference(mistake["injected"])] = (1.0, 1.0)
    assert broken(self_test.of_comparison(tmp_path, jobs=1))


def test_rates_count_alarms_and_catches(world: Effect) -> None:
    found = error_rates.error_rates(3, jobs=1)
    assert found.host == "a machine"
    assert all(rate.met and rate.rounds == 3 for rate in found.rates)
    for rate in found.rates:
        assert rate.seen == (0 if rate.injected.startswith("nothing") else 3), rate
    assert {rate.part for rate in found.rates} == {"time", "work", "quality", "completeness"}


@pytest.mark.parametrize(
    ("seen", "target", "met"),
    [(0, 0.0, True), (1, 0.0, False), (38, 0.95, True), (37, 0.95, False), (39, 1.0, False), (40, 1.0, True)],
)
def test_a_target_is_met_or_missed(seen: int, target: float, met: bool) -> None:
    assert Rate("time", "something", seen, 40, target).met is met


@pytest.mark.parametrize(("seen", "code"), [(40, exit_codes.GOOD), (30, exit_codes.UNDECIDED)])
def test_the_figures_are_reported_and_a_missed_target_is_exit_4(
    seen: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = Rates([Rate("time", "more", seen, 40, 0.95)], 40, "a machine", "abc", "2030-01-01", 9.0, (1.0, 2.0))
    monkeypatch.setattr(error_rates, "error_rates", lambda rounds, jobs: measured)
    paths = [tmp_path / "rates.md", tmp_path / "rates.json"]
    options = [word for path in paths for word in ("--report", str(path))]
    assert main.main(["regression", "--self-test", *options]) == code
    page = paths[0].read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() == page.strip()
    for word in (f"{seen} of 40", "a machine", "abc", "2030-01-01", "load 1.0", "at least 95%"):
        assert word in page
    assert json.loads(paths[1].read_text(encoding="utf-8"))["rates"][0]["seen"] == seen


@pytest.fixture
def accepted(world: Effect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A baseline of the world as it is, at a commit."""
    monkeypatch.setattr(history, "current_commit", lambda *_: "abc")
    monkeypatch.setattr(history, "has_changes", lambda *_, **__: False)
    gate.update_baseline("for a test", tmp_path / "b.json", jobs=1)
    return tmp_path / "b.json"


def gated(path: Path) -> int:
    return main.main(["regression", "--baseline", str(path), "--history", str(path.with_name("h.jsonl"))])


def test_a_gated_commit_is_remembered(accepted: Path) -> None:
    assert gated(accepted) == exit_codes.GOOD
    (line,) = history.read_history(accepted.with_name("h.jsonl"))
    assert (line["commit"], line["host"], line["exit_code"]) == ("abc", "a machine", exit_codes.GOOD)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda world, entry: world.update({entry: (1.2, 1.0)}), exit_codes.REGRESSION),
        (lambda world, entry: world.update({entry: (1.0, 1.2)}), exit_codes.REGRESSION),
        (lambda world, entry: world.update({entry: (0.9, 1.0)}), exit_codes.UNDECIDED),
    ],
)
def test_what_changed_against_the_baseline_is_the_exit_code_and_still_remembered(
    change: Callable[[Effect, str], None], code: int, accepted: Path, world: Effect
) -> None:
    entry = next(str(m["entry"]) for m in self_test.injected_faults() if m["part"] == "work")
    change(world, entry)
    # what is injected stays a tenth dearer than what it is injected in
    for mistake in self_test.injected_faults():
        if mistake["part"] == "work":
            world[reference(mistake["injected"])] = (1.1 * world[entry][0], world[entry][1])
    assert gated(accepted) == code
    assert [line["exit_code"] for line in history.read_history(accepted.with_name("h.jsonl"))] == [code]


def test_a_baseline_is_whole_or_not_accepted(
    world: Effect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = Baseline("gate", "here", {"a on line": Measured({"0": "diverged"}, {}, {})})
    monkeypatch.setattr(suite_module, "measure_suite", lambda out, jobs, of: failed)
    assert main.main(["update-baseline", "--reason", "a test", "--baseline", str(tmp_path / "b.json")]) == 2
    assert "a on line (seed 0: diverged)" in capsys.readouterr().err
    assert not (tmp_path / "b.json").exists()


def test_pairs_are_aligned_by_cell_and_seed_and_a_lost_value_stays(tmp_path: Path) -> None:
    before, after = Shelf(tmp_path / "before"), Shelf(tmp_path / "after")
    for side, values in ((before, (0.3, 0.4)), (after, (0.5, None))):
        for seed, kl in enumerate(values):
            side.ran("a", seed, kl, status="ok" if kl else "diverged")
        side.ran("a", 0, 9.0, dataset="circle")
    found = against_commit.pairs(before.records(), after.records(), "kl")
    assert found == {"a on line": [(0.3, 0.5), (0.4, float("inf"))], "a on circle": [(9.0, 9.0)]}


def test_an_objective_that_is_gone_is_undecided_and_a_new_one_has_nothing_to_compare() -> None:
    found = {
        c.cell: (c.outcome, c.command) for c in against_commit._presence({"old", "same"}, ["same", "new"], "again")
    }
    assert found == {"old": ("undecided", "again"), "new": ("pass", "again")}
