"""The regression gate: what it passes, what it catches, and what it refuses to judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.cli import main
from bench.common import exit_codes
from bench.regression import baseline, report, suite
from bench.regression.baseline import Baseline, Measured
from bench.regression.checks import Check, compare, exit_code, quality, work
from tests.helpers.store_builder import Shelf

SEEDS = ("0", "1", "2")


def cell(level: float = 0.2, flops: float = 1e6, status: str = "ok") -> Measured:
    values = {seed: level * (1 + 0.05 * k) if status == "ok" else None for k, seed in enumerate(SEEDS)}
    return Measured(dict.fromkeys(SEEDS, status), {"flops_per_step": flops}, {"kl": values}, {"kl": "lower"}, "again")


ACCEPTED = Baseline("gate", "here", {"a on line": cell(), "b on line": cell(0.7)}, {"reason": "for a test"})


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures fails, instead of taking minutes."""
    monkeypatch.setattr(suite, "measure_suite", lambda *_, **__: pytest.fail("the gate's suite was run"))


def changed(**cells: Measured) -> Baseline:
    return replace(ACCEPTED, cells={**ACCEPTED.cells, **{f"{name} on line": c for name, c in cells.items()}})


def test_the_same_numbers_pass_in_every_part() -> None:
    checks = compare(ACCEPTED, ACCEPTED)
    assert {check.part for check in checks} == {"completeness", "work", "quality"}
    assert exit_code(checks) == exit_codes.GOOD


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (changed(a=cell(flops=1.1e6)), exit_codes.REGRESSION),
        (changed(a=cell(flops=1.0005e6)), exit_codes.GOOD),
        (changed(a=cell(flops=0.9e6)), exit_codes.UNDECIDED),
        (changed(a=cell(level=0.2 * (1 + 1e-5))), exit_codes.REGRESSION),
        (changed(a=cell(level=0.2 * (1 - 1e-5))), exit_codes.UNDECIDED),
        (changed(a=cell(level=0.2 * (1 + 1e-8))), exit_codes.GOOD),
        (changed(a=cell(status="diverged")), exit_codes.REGRESSION),
        (changed(c=cell()), exit_codes.UNDECIDED),
        (replace(ACCEPTED, cells={"a on line": cell()}), exit_codes.UNDECIDED),
        (replace(ACCEPTED, cells={}), exit_codes.UNDECIDED),
    ],
)
def test_more_work_worse_numbers_and_failures_are_regressions_and_what_is_absent_or_better_is_undecided(
    head: Baseline, code: int
) -> None:
    assert exit_code(compare(ACCEPTED, head)) == code


def test_a_renamed_objective_does_not_pass() -> None:
    cells = {name.replace("b on", "new_b on"): c for name, c in ACCEPTED.cells.items()}
    checks = compare(ACCEPTED, replace(ACCEPTED, cells=cells))
    assert {c.cell for c in checks if c.outcome == "undecided"} == {"b on line", "new_b on line"}


def test_a_seed_that_lost_its_value_is_a_regression() -> None:
    lost = cell()
    lost.quality["kl"]["1"] = None
    assert exit_code(quality(ACCEPTED, changed(a=lost))) == exit_codes.REGRESSION


def test_another_environment_may_differ_by_less_than_the_seeds_do_and_no_more() -> None:
    elsewhere = replace(changed(a=cell(level=0.2 * 1.02)), env_id="there")
    assert exit_code(compare(ACCEPTED, elsewhere)) == exit_codes.GOOD
    far = replace(changed(a=cell(level=0.2 * 1.5)), env_id="there")
    assert exit_code(compare(ACCEPTED, far)) == exit_codes.REGRESSION


def test_what_is_not_a_number_does_not_pass() -> None:
    nan = cell(flops=float("nan"))
    assert exit_code(work(ACCEPTED, changed(a=nan))) != exit_codes.GOOD
    strange = cell(level=float("nan"))
    assert exit_code(quality(ACCEPTED, changed(a=strange))) != exit_codes.GOOD


def test_every_verdict_names_cell_metric_before_after_what_is_allowed_and_the_command() -> None:
    heads = [
        changed(a=cell(flops=1.1e6)),
        changed(a=cell(level=0.3)),
        changed(a=cell(status="diverged")),
        changed(c=cell()),
        replace(ACCEPTED, cells={"a on line": cell()}),
    ]
    for check in (check for head in heads for check in compare(ACCEPTED, head)):
        said = (check.part, check.cell, check.metric, check.before, check.after, check.allowed, check.command)
        assert all(said), check


def test_nothing_compared_is_not_good() -> None:
    assert exit_code([]) == exit_codes.UNDECIDED


def test_a_baseline_survives_the_disk(tmp_path: Path) -> None:
    baseline.save_baseline(ACCEPTED, tmp_path / "b.json")
    again = baseline.load_baseline(tmp_path / "b.json")
    assert again.accepted == {"reason": "for a test"}
    assert exit_code(compare(again, ACCEPTED)) == exit_codes.GOOD
    assert (tmp_path / "b.json").read_text(encoding="utf-8") == json.dumps(
        json.loads((tmp_path / "b.json").read_text(encoding="utf-8")), indent=1, sort_keys=True
    ) + "\n"


def torn(text: str) -> str:
    return text[: len(text) // 2]


def foreign(text: str) -> str:
    return '{"cells": {}}'


def newer(text: str) -> str:
    return text.replace('"schema": 1', '"schema": 2')


def hollow(text: str) -> str:
    return json.dumps({k: v for k, v in json.loads(text).items() if k != "cells"})


def of_another_suite(text: str) -> str:
    return text.replace('"suite": "gate"', '"suite": "toy2d"')


def without_a_number(text: str) -> str:
    return text.replace("1000000.0", "NaN")


def with_words_for_numbers(text: str) -> str:
    return text.replace("1000000.0", '"many"')


def not_text(text: str) -> str:
    return "\udcff"


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "damage",
    [torn, foreign, newer, hollow, of_another_suite, without_a_number, with_words_for_numbers, not_text],
)
def test_a_baseline_that_cannot_be_trusted_is_exit_4_with_a_way_out(
    damage: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.json"
    baseline.save_baseline(ACCEPTED, path)
    before = path.read_text(encoding="utf-8")
    path.write_text(damage(before), errors="surrogateescape", encoding="utf-8")
    assert path.read_bytes() != before.encode()
    assert main.main(["regression", "--baseline", str(path)]) == exit_codes.UNDECIDED
    error = capsys.readouterr().err
    assert "b.json" in error
    assert "bench update-baseline" in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("unmeasured")
def test_a_missing_baseline_is_exit_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["regression", "--baseline", str(tmp_path / "none.json")]) == exit_codes.UNDECIDED
    assert "update-baseline" in capsys.readouterr().err


def test_rows_become_cells(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.entry("a", 0.3, seeds=2)
    shelf.ran("b", 0, None, status="diverged")
    found = baseline.measured_baseline(shelf.records(), "toy").cells
    assert found["a on line"].quality["kl"] == {"0": pytest.approx(0.3), "1": pytest.approx(0.32)}
    assert found["a on line"].work["n_params"] == 81
    assert found["b on line"].status == {"0": "diverged"}


def test_the_report_says_the_same_to_people_and_to_machines() -> None:
    checks = compare(ACCEPTED, changed(a=cell(flops=1.1e6)))
    assert "regression" in report.verdict(checks)
    assert "1100000" in report.gate_markdown(checks)
    assert "again" in report.gate_markdown(checks)
    tree = ElementTree.fromstring(report.junit(checks))
    assert [e.get("classname") for e in tree.iter("testcase") if e.find("failure") is not None] == ["a on line"]
    plain = json.loads(report.plain(checks))
    assert plain["exit_code"] == exit_codes.REGRESSION
    assert len(plain["checks"]) == len(checks)


def test_a_self_test_that_failed_is_a_broken_gate_whatever_else_was_found() -> None:
    missed = Check("self-test", "a sign flip", "is a regression", "undecided", "injected", "not caught", "")
    checks = [*compare(ACCEPTED, changed(a=cell(flops=1.1e6))), missed]
    assert exit_code(checks) == exit_codes.UNDECIDED
    assert report.verdict(checks).startswith("gate broken")
    assert json.loads(report.plain(checks))["exit_code"] == exit_codes.UNDECIDED


def test_what_is_better_and_not_accepted_is_an_error_to_machines_too() -> None:
    checks = compare(ACCEPTED, changed(a=cell(flops=0.9e6)))
    tree = ElementTree.fromstring(report.junit(checks))
    assert [e.get("name") for e in tree.iter("testcase") if e.find("error") is not None] == ["flops_per_step"]
    assert "update-baseline" in report.verdict(checks)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--report", "gate.txt"), "this report is written as .md, .xml, .json; got 'gate.txt'"),
        (("--self-test", "--report", "gate.xml"), "this report is written as .md, .json; got 'gate.xml'"),
        (("--self-test", "--rounds", "0"), "--rounds must be at least 1; got 0"),
        (("--objective", "anything"), "add --against REF"),
        (("--benchmark", "one.json"), "2 or 4 times"),
        (("--jobs", "0"), "--jobs must be at least 1; got 0"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["regression", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_baseline_is_not_accepted_without_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["update-baseline", "--reason", " "]) == 2
    assert "reason" in capsys.readouterr().err


def test_a_class_of_machine_is_named_by_what_its_times_depend_on() -> None:
    host = baseline.host_class({"system": "Linux x86_64", "processor": "A", "cores": 2, "torch": "2", "python": "3"})
    assert host == "Linux x86_64, A, 2 cores"
    assert host != baseline.host_class({"system": "Linux x86_64", "processor": "B", "cores": 2})
