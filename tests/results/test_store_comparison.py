"""Two stores, paired by seed: verdict words that the seeds carry, and no others."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.cli import main
from bench.common import exit_codes
from bench.common.errors import UsageError
from bench.common.run_spec import BudgetSpec
from bench.common.statistics import exponential, t_interval
from bench.report import terminal
from bench.results import integrity, store_comparison
from bench.results.records import Cell, Record
from bench.results.store import Planned
from tests.helpers.store_builder import NOISE, Shelf, estimate
from tests.helpers.toy_workers import toy_spec


@pytest.fixture
def shelves(tmp_path: Path) -> tuple[Shelf, Shelf]:
    return Shelf(tmp_path / "a"), Shelf(tmp_path / "b")


def table_of(shelves: tuple[Shelf, Shelf]) -> dict[str, dict[str, str]]:
    """The lines of the comparison by objective."""
    for shelf in shelves:
        shelf.store.write_plan(map(Planned.of, shelf.specs))
    text = store_comparison.stores_markdown(shelves[0].store.root, shelves[1].store.root)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[1]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_verdicts_say_what_the_seeds_carry(shelves: tuple[Shelf, Shelf]) -> None:
    a, b = shelves
    shift = {"improved": -0.5, "spoilt": 0.5, "equal": 0.0, "noisy": 0.01}
    for name, by in shift.items():
        for seed, noise in enumerate(NOISE):
            a.ran(name, seed, 1.0 + noise)
            b.ran(
                name, seed, 1.0 + noise + by + (0.001 * NOISE[-1 - seed] if by else 0.0) - (name == "noisy") * 4 * noise
            )
    found = {name: line["verdict"] for name, line in table_of(shelves).items()}
    assert found == {"improved": "better", "spoilt": "worse", "equal": "same numbers", "noisy": "not separable"}


def test_where_higher_is_better_the_words_turn_round(shelves: tuple[Shelf, Shelf]) -> None:
    for shelf, mean in zip(shelves, (20.0, 25.0), strict=True):
        for seed, noise in enumerate(NOISE):
            value = estimate(mean + noise * mean, better="higher")
            shelf.ran("good", seed, None, metrics={"psnr": {"last": value}})
    assert table_of(shelves)["good"]["verdict"] == "better"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, []),
        ({"kl": 1.5}, ["worse"]),
        ({"status": "diverged"}, ["worse"]),
        ({"train_wall": 2.0}, ["slower"]),
        ({"train_wall": 1.01}, []),
        ({"flops_train": 1.01}, ["more-work"]),
        ({"flops_train": 0.5, "kl": 0.5}, []),
    ],
)
def test_a_fault_that_was_asked_for_is_exit_code_1(
    shelves: tuple[Shelf, Shelf], change: dict[str, Any], shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for shelf, by in zip(shelves, ({}, change), strict=True):
        for seed, noise in enumerate(NOISE):
            value = {"kl": {"last": estimate((1.0 + noise) * by.get("kl", 1.0) * (1 + 0.001 * (seed % 2) * bool(by)))}}
            shelf.ran("good", seed, None, metrics=value, status=by.get("status", "ok"), reason="nan")
        for path in shelf.store.root.rglob("row.json"):
            row = json.loads(path.read_text(encoding="utf-8"))
            for part, key in (("time", "train_wall"), ("work", "flops_train")):
                if part in row:
                    row[part][key] *= by.get(key, 1.0) * (1 + 1e-5 * row["seed"] * bool(by.get(key)))
            row["provenance"]["row_sha256"] = integrity.row_seal(row)
            path.write_text(json.dumps(row, indent=1), encoding="utf-8")
        shelf.store.write_plan(map(Planned.of, shelf.specs))
    a, b = (str(shelf.store.root) for shelf in shelves)
    for fault in store_comparison.FAULTS:
        assert main.main(["compare", a, b, "--fail-on", fault]) == (exit_codes.REGRESSION if fault in shown else 0), (
            fault
        )
    assert main.main(["compare", a, b]) == exit_codes.GOOD
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("**B against A: ")
    assert all(fault.replace("-", " ") + " at 1" in first for fault in shown)
    assert main.main(["compare", a, b, "--fail-on", "worse,odd"]) == exit_codes.USAGE
    assert "got 'odd'" in capsys.readouterr().err


def test_an_uncertified_value_keeps_its_mark(shelves: tuple[Shelf, Shelf]) -> None:
    for shelf, certified in zip(shelves, (True, False), strict=True):
        for seed, noise in enumerate(NOISE):
            shelf.ran("good", seed, 1.0 + noise, certified=certified)
    line = table_of(shelves)["good"]
    assert (line["A"], line["B"]) == ("1", "1?")


def test_the_interval_is_of_the_paired_differences(shelves: tuple[Shelf, Shelf]) -> None:
    a, b = shelves
    first, second = [1.0, 5.0, 9.0], [1.1, 5.3, 9.2]
    for seed, (x, y) in enumerate(zip(first, second, strict=True)):
        a.ran("good", seed, x)
        b.ran("good", 2 - seed, second[2 - seed])  # in another order
        assert y == second[seed]
    interval = exponential(t_interval([math.log(y / x) for x, y in zip(first, second, strict=True)]))
    effect = f"×{interval.mean:.3g} ({interval.low:.3g} to {interval.high:.3g}; n = 3)"
    assert table_of(shelves)["good"]["B against A"] == effect


def test_what_can_be_negative_is_compared_by_difference_and_no_ratio_is_made_up(shelves: tuple[Shelf, Shelf]) -> None:
    for shelf, values in zip(shelves, ((10.0, 10.1, 9.9, 10.2, 10.0), (30.0, 33.0, 31.0, -0.1, 30.5)), strict=True):
        for seed, value in enumerate(values):
            signed = estimate(value, scale="difference")
            shelf.ran("declared", seed, None, metrics={"kid": {"last": signed}})
            shelf.ran("undeclared", seed, None, metrics={"kid": {"last": estimate(value)}})
    found = table_of(shelves)
    assert found["declared"]["B against A"].startswith("+14.8 (")
    assert (found["undeclared"]["B against A"], found["undeclared"]["verdict"]) == ("n/a", "no ratio")


def test_a_difference_that_is_the_same_at_every_seed_is_not_judged(shelves: tuple[Shelf, Shelf]) -> None:
    for seed in range(3):
        shelves[0].ran("doubled", seed, 0.1 + 0.1 * seed)
        shelves[1].ran("doubled", seed, 0.2 + 0.2 * seed)
    assert table_of(shelves)["doubled"]["verdict"] == "no spread"


def test_only_common_seeds_are_compared(shelves: tuple[Shelf, Shelf]) -> None:
    a, b = shelves
    a.entry("good", 1.0, seeds=3)
    b.entry("good", 1.0, seeds=2)
    b.ran("good", 2, None, status="diverged", reason="nan")
    b.ran("good", 7, 99.0)
    line = table_of(shelves)["good"]
    assert (line["verdict"], line["A"], line["B"]) == ("same numbers", "1.01", "1.01")
    assert line["completed"] == "3 of 3 → 3 of 4"


def test_absence_is_a_word(shelves: tuple[Shelf, Shelf]) -> None:
    a, b = shelves
    a.entry("old", 1.0)
    b.entry("new", 1.0)
    for shelf in shelves:
        shelf.ran("single", 0, 1.0 + (shelf is b))
    a.ran("broken", 0, 1.0)
    b.ran("broken", 0, None, status="error", reason="no")
    found = {name: line["verdict"] for name, line in table_of(shelves).items()}
    assert found == {
        "old": "only in A",
        "single": "one common seed",
        "broken": "no common seed with a value",
        "new": "only in B",
    }


def test_many_comparisons_are_corrected_for(shelves: tuple[Shelf, Shelf]) -> None:
    """One line at p ≈ 0.03 is separable alone and is not among twenty."""
    a, b = shelves

    def entry(name: str) -> None:
        for seed, by in enumerate((0.03, 0.05, 0.1, 0.12, 0.02)):
            a.ran(name, seed, 1.0)
            b.ran(name, seed, 1.0 + by)

    entry("first")
    assert table_of(shelves)["first"]["verdict"] == "worse"
    for k in range(19):
        entry(f"more{k}")
    assert {line["verdict"] for line in table_of(shelves).values()} == {"not separable"}


def test_what_changed_between_the_stores_is_named(shelves: tuple[Shelf, Shelf]) -> None:
    a, b = shelves
    a.ran("good", 0, 1.0)
    b.ran("good", 0, 1.0, budget=BudgetSpec(steps=7))
    assert table_of(shelves)["good"]["changed"] == "budget"


def test_a_store_without_a_plan_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="No runs in"):
        store_comparison.stores_markdown(tmp_path / "a", tmp_path / "b")
    assert main.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == exit_codes.USAGE
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("width", "cell"), [(160, "1.000 ± 0.020 (#1)"), (70, "1")])
def test_the_terminal_shows_the_best_first_as_wide_as_it_is(tmp_path: Path, width: int, cell: str) -> None:
    shelf = Shelf(tmp_path / "store")
    shelf.entry("worse", 3.0)
    shelf.entry("good", 1.0)
    shelf.ran("wild", 0, None, status="diverged", reason="nan", last_step=7)
    written = io.StringIO()
    terminal.print_leaderboard(shelf.records(), Console(file=written, width=width))
    lines = [line.split("  ") for line in written.getvalue().splitlines()]
    names = [line[0] for line in lines]
    assert names.index("good") < names.index("worse") < names.index("wild")
    assert cell in [part.strip() for part in lines[names.index("good")]]
    assert "diverged at 7" in written.getvalue()
    assert max(map(len, written.getvalue().splitlines())) <= width


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("dataset", {"content": "another"}),
        ("dataset", {"version": 2}),
        ("network", {"conditional": True}),
        ("objective", {"sampler": "own"}),
        ("objective", {"energy": "noise"}),
        ("objective", {"levels": "intervals"}),
    ],
)
def test_every_part_of_an_identity_that_differs_is_named(part: str, change: dict[str, object]) -> None:
    spec = toy_spec(0)
    other = replace(spec, **{part: replace(getattr(spec, part), **change)})
    cells = [Cell([Record(Planned.of(each), None, "descent")]) for each in (spec, other)]
    assert spec.cell_id != other.cell_id
    assert store_comparison.changed(*cells) == part
