"""Rows to tables: every planned run once, failures in the denominator, doubt and absence in words."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from bench.cli.commands.run import run_suite
from bench.common.errors import UsageError
from bench.common.run_spec import EvaluationSpec, ObjectiveSpec
from bench.results import leaderboard, tables
from bench.results.store import Planned
from tests.helpers.store_builder import NOISE, Shelf, estimate
from tests.helpers.toy_workers import toy_spec

CONTRACT = [
    *[
        "suite",
        "objective",
        "label",
        "file",
        "sha",
        "params",
        "dataset",
        "network",
        "track",
        "device",
        "seed",
        "status",
        "reason",
    ],
    *["steps", "train_seconds", "flops_train", "forwards", "input_gradients", "peak_memory_mb", "n_params", "entropy"],
    "kl_floor",
]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "store")


def test_the_columns_of_results_are_those_that_others_script_against(shelf: Shelf) -> None:
    variants = {name: estimate(0.1) for name in ("best", "last", "ema")}
    shelf.ran("descent", 0, None, metrics={"nll": variants, "mode.weight_error": variants, "kl": variants})
    metrics = [f"{name}{suffix}" for name in ("kl", "mode_weight_error", "nll") for suffix in ("", "_ema", "_best")]
    assert list(shelf.frame().columns) == CONTRACT + metrics


def test_the_columns_do_not_depend_on_what_failed(shelf: Shelf) -> None:
    shelf.store.write_plan([Planned.of(toy_spec(evaluation=EvaluationSpec(metrics={"kl": "hash"})))])
    assert list(tables.results_frame(shelf.store).columns) == [*CONTRACT, "kl", "kl_ema", "kl_best"]


def test_results_have_exactly_the_planned_runs(shelf: Shelf) -> None:
    shelf.ran("descent", 0, 0.5)
    shelf.ran("descent", 1, None, status="error", reason="ValueError: no")
    shelf.plan("descent", 2)
    shelf.plan("descent", 3, skip="needs a grid")
    Shelf(shelf.store.root).ran("somebody_elses", 0, 0.1)  # in the store, and not asked for
    found = shelf.frame()
    assert found["seed"].tolist() == [0, 1, 2, 3]
    assert found["status"].tolist() == ["ok", "error", "missing", "missing"]
    assert found["reason"].tolist() == ["", "ValueError: no", "planned, not run", "planned, not run"]


def test_a_run_that_is_planned_twice_is_one_line(shelf: Shelf) -> None:
    shelf.ran("descent", 0, 0.5)
    shelf.plan("descent", 0)
    assert len(shelf.frame()) == 1


def test_without_a_plan_at_hand_the_store_knows_what_was_planned(shelf: Shelf) -> None:
    shelf.ran("descent", 0, 0.5)
    shelf.plan("descent", 1)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    assert tables.results_frame(shelf.store)["status"].tolist() == ["ok", "missing"]


def test_a_line_holds_what_was_measured_in_the_units_of_its_columns(shelf: Shelf) -> None:
    shelf.ran("descent", 4, 0.5)
    line = shelf.frame().iloc[0]
    expected = {"steps": 60, "train_seconds": 1.5, "flops_train": 2e9, "forwards": 7, "peak_memory_mb": 3.0}
    expected |= {"n_params": 81, "entropy": 1.1231, "kl": 0.5, "seed": 4, "network": "mlp", "track": "equal_steps"}
    assert {name: line[name] for name in expected} == expected


def test_the_newest_attempt_counts(shelf: Shelf) -> None:
    shelf.ran("descent", 0, None, status="killed")
    shelf.ran("descent", 0, 0.25)
    assert shelf.frame()[["status", "kl"]].values.tolist() == [["ok", 0.25]]


def test_parameters_are_written_as_they_are_given(shelf: Shelf) -> None:
    shelf.specs.append(toy_spec(0, ObjectiveSpec(name="descent", label="descent", params={"steps": 20, "noise": 0.1})))
    assert shelf.frame()["params"].tolist() == ["steps=20,noise=0.1"]


def test_the_reason_of_a_good_run_names_the_numbers_that_it_lacks(shelf: Shelf) -> None:
    absent = estimate(None, reason="n/a (needs grid)")
    shelf.ran("descent", 0, None, metrics={"kl": {"last": absent, "ema": absent}, "nll": {"last": absent}})
    assert shelf.frame()["reason"].tolist() == ["kl, nll: n/a (needs grid)"]


def test_results_as_csv_read_back_as_they_were(shelf: Shelf, tmp_path: Path) -> None:
    shelf.ran("descent", 0, 0.1 + 0.2)
    shelf.ran("descent", 1, None, status="diverged", reason="the loss is not finite at step 7", last_step=7)
    tables.write_table(shelf.frame(), tmp_path / "results.csv")
    found = pd.read_csv(tmp_path / "results.csv", keep_default_na=False, na_values={"kl": [""]})
    assert list(found.columns) == list(shelf.frame().columns)
    assert found["kl"].tolist()[0] == 0.1 + 0.2
    assert math.isnan(found["kl"].tolist()[1])
    assert found["seed"].tolist() == [0, 1]


def test_failed_seeds_are_in_the_denominator(shelf: Shelf) -> None:
    shelf.entry("descent", 1.0, seeds=3)
    shelf.ran("descent", 3, None, status="oom")
    shelf.plan("descent", 4)
    (line,) = tables.summary_frame(shelf.records()).to_dict("records")
    assert (line["planned"], line["ok"], line["success_rate"], line["kl_n"]) == (5, 3, 0.6, 3)
    assert line["success_low"] == pytest.approx(0.2307, abs=1e-4)
    assert (line["kl_median_best_case"], line["kl_median"], line["kl_median_worst_case"]) == (0.99, 1.0, 1.02)
    assert shelf.line_of("descent")[2:4] == ["1.003 ± 0.038, 3 of 5", "3 of 5"]


def test_what_could_not_have_run_has_not_failed(shelf: Shelf) -> None:
    shelf.entry("descent", 1.0)
    for seed in range(5):
        shelf.ran("ascent", seed, None, status="skipped", reason="needs images")
    lines = tables.summary_frame(shelf.records()).set_index("objective")
    assert lines.loc["descent", "success_rate"] == 1
    assert lines.loc["ascent", ["planned", "skipped", "ok"]].tolist() == [5, 5, 0]
    assert math.isnan(lines.loc["ascent", "success_rate"])
    assert shelf.line_of("ascent")[1:4] == ["not ranked", "skipped", "skipped"]


def test_an_entry_with_a_failed_seed_is_not_ranked_however_good_the_others(shelf: Shelf) -> None:
    shelf.entry("safe", 1.0)
    shelf.entry("risky", 0.1, seeds=4)
    shelf.ran("risky", 4, None, status="diverged", reason="", last_step=30)
    ranks = shelf.board()["rank"]
    assert ranks["safe", "line"] == 1
    assert pd.isna(ranks["risky", "line"])
    assert shelf.line_of("risky")[1:3] == ["not ranked", "0.105 ± 0.021, 4 of 5"]


def test_entries_are_ranked_by_what_the_seeds_can_tell(shelf: Shelf) -> None:
    for name, mean, scale in (("worst", 3.0, 1.0), ("good", 1.0, 1.0), ("as_good", 1.0, -0.7)):
        shelf.entry(name, mean, scale=scale)
    assert shelf.board()["rank"].to_dict() == {("worst", "line"): 3, ("good", "line"): 1, ("as_good", "line"): 1}
    page = shelf.page()
    assert page.index("| as_good") < page.index("| worst")
    assert shelf.line_of("good")[1:3] == ["1.0", "1.000 ± 0.020 (#1)"]


def test_an_entry_more_moves_nobodys_score(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    shelf.entry("worse", 2.0)
    scores = ["mean", "low", "high", "n", "planned", "ok", "uncertified", "metric"]
    before = shelf.board()[scores]
    for newcomer in ("great", "failing"):
        shelf.entry(newcomer, -5.0, seeds=5 if newcomer == "great" else 2)
        pd.testing.assert_frame_equal(shelf.board().loc[before.index, scores], before)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2, 3, 4, 5, 6), (7, 8, 9)])
def test_an_entry_with_seeds_of_its_own_costs_nobody_a_rank(shelf: Shelf, seeds: tuple[int, ...]) -> None:
    for name, mean in (("good", 1.0), ("worse", 2.0)):
        shelf.entry(name, mean)
    before = shelf.board()["rank"]
    for seed in seeds:
        shelf.ran("trial", seed, 3.0 + seed / 100)
    after = shelf.board()["rank"]
    assert after[before.index].tolist() == before.tolist() == [1, 2]
    assert pd.isna(after["trial", "line"]) == (len(seeds) < 5)


def test_a_failure_at_a_seed_of_its_own_counts_as_well(shelf: Shelf) -> None:
    for name, mean in (("good", 1.0), ("as_good", 1.0), ("long", 0.5)):
        shelf.entry(name, mean)
    shelf.ran("long", 5, None, status="diverged")
    assert shelf.board()["rank"].fillna(0).tolist() == [1, 1, 0]


@pytest.mark.parametrize(("better", "first"), [("lower", "small"), ("higher", "large")])
def test_a_metric_says_which_way_is_better(shelf: Shelf, better: str, first: str) -> None:
    for name, mean in (("small", 1.0), ("large", 2.0)):
        for seed, noise in enumerate(NOISE):
            shelf.ran(name, seed, None, metrics={"recall": {"last": estimate(mean + noise, better=better)}})
    assert shelf.board()["rank"][first, "line"] == 1
    assert f"`recall` in nats, {better} is better" in shelf.page()


def test_a_value_that_is_not_certified_is_marked_and_not_ranked(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    shelf.entry("doubtful", 0.5, seeds=4)
    shelf.ran("doubtful", 4, 0.5, certified=False)
    board = shelf.board()
    assert board["uncertified"].to_dict() == {("good", "line"): 0, ("doubtful", "line"): 1}
    assert board["rank"]["good", "line"] == 1
    assert shelf.line_of("doubtful")[1] == "not ranked"
    assert shelf.line_of("doubtful")[2].endswith("?")
    assert "?" not in shelf.line_of("good")[2]


def test_one_seed_ranks_nobody_and_says_so(shelf: Shelf) -> None:
    for name, kl in (("good", 0.1), ("bad", 5.0)):
        shelf.ran(name, 0, kl)
    assert shelf.board()["rank"].isna().all()
    assert shelf.line_of("good")[1:3] == ["not ranked: one seed", "0.1 (one seed)"]


def test_ranks_are_of_geometric_means_where_a_ratio_can_be_taken(shelf: Shelf) -> None:
    for seed in range(5):
        shelf.ran("steady", seed, 0.1 * 1.01**seed)
        shelf.ran("wild", seed, 0.4 if seed else 4.0)  # log-normal values have such seeds
        shelf.ran("middle", seed, 0.8 * 1.01**seed)
    board = shelf.board()
    assert board["mean"]["wild", "line"] > board["mean"]["middle", "line"]
    assert board["rank"]["wild", "line"] == 2
    assert board["rank"]["middle", "line"] == 2


def test_a_control_is_shown_last_and_not_ranked(shelf: Shelf) -> None:
    shelf.entry("truth", 0.0, control=True)
    shelf.entry("good", 1.0)
    assert shelf.board()["rank"]["good", "line"] == 1
    assert shelf.line_of("truth")[:2] == ["truth (control)", "not ranked"]
    page = shelf.page()
    assert page.index("| good") < page.index("| truth")


@pytest.mark.parametrize(("control", "code"), [(True, 0), (False, 3)])
def test_a_failing_control_does_not_count(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], control: bool, code: int
) -> None:
    shelf.ran("broken", 0, None, status="diverged", reason="nan", control=control)
    specs = [Planned.of(spec) for spec in shelf.specs]
    shelf.store.write_plan(specs)
    rows = [row for spec in specs for row in shelf.store.rows_of(spec)]
    monkeypatch.setattr("bench.runner.executor.execute", lambda *_, **__: rows)
    assert run_suite(shelf.specs, shelf.store.root, jobs=1, retry=False) == code
    assert ("(a control: not counted)" in capsys.readouterr().err) == control


def test_an_entry_that_lacks_a_data_set_has_no_mean_rank(shelf: Shelf) -> None:
    for dataset in ("line", "circle"):
        shelf.entry("everywhere", 1.0, dataset=dataset)
    shelf.entry("somewhere", 0.5)
    assert shelf.line_of("everywhere")[1] == "1.5"
    assert shelf.line_of("somewhere")[1:4] == ["not ranked", "0.500 ± 0.020 (#1)", "not run"]


@pytest.mark.parametrize(
    ("steps", "words"), [((7, 7, 7), "diverged at 7"), ((7, 90, 12), "diverged at 7–90"), ((None,), "diverged")]
)
def test_what_diverged_says_where(shelf: Shelf, steps: tuple[int | None, ...], words: str) -> None:
    for seed, step in enumerate(steps):
        shelf.ran("wild", seed, None, status="diverged", reason="the loss is not finite", last_step=step)
    assert shelf.line_of("wild")[2] == words


@pytest.mark.parametrize(
    ("status", "word"), [("timeout", "timeout"), ("oom", "oom"), ("killed", "killed"), ("skipped", "skipped")]
)
def test_absence_is_a_word(shelf: Shelf, status: str, word: str) -> None:
    shelf.ran("descent", 0, None, status=status, reason="why")
    shelf.plan("ascent", 0)
    assert shelf.line_of("descent")[2] == word
    assert shelf.line_of("ascent")[2] == "not run"
    assert "nan" not in shelf.page().lower()
    assert "None" not in shelf.page()


def test_a_good_run_without_the_metric_says_why(shelf: Shelf) -> None:
    shelf.entry("good", 1.0, seeds=1)
    shelf.ran("heavy", 0, None, metrics={"kl": {"last": estimate(None, reason="not integrable in the box")}})
    assert shelf.line_of("heavy")[2] == "not integrable in the box"


def test_a_cell_gives_the_reason_of_its_own_metric(shelf: Shelf) -> None:
    shelf.entry("good", 1.0, seeds=1)
    lacking = {name: {"last": estimate(None, reason=f"no {name}")} for name in ("accuracy", "kl")}
    shelf.ran("heavy", 0, None, metrics=lacking)
    assert shelf.line_of("heavy")[2] == "no kl"


def test_failures_are_listed_with_their_reasons_alike_ones_together(shelf: Shelf) -> None:
    for seed in range(3):
        shelf.ran("descent", seed, None, status="error", reason="ValueError: no")
    shelf.ran("descent", 3, None, status="skipped", reason="needs images")
    shelf.plan("ascent", 0)
    page = shelf.page()
    assert "- **error** descent on line, seeds 0, 1, 2: ValueError: no" in page
    assert page.index("**error**") < page.index("**missing** ascent on line, seed 0: planned, not run")
    assert "**skipped** descent on line, seed 3: needs images" in page


def test_the_page_gives_the_ruler_and_the_machine(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    page = shelf.page()
    assert "line: `kl` in nats, lower is better; entropy of the data 1.1231 nats." in page
    assert re.search(r"Made on: processor A processor, torch 2\.13\.0 \(environment `\w{8}`\)\.", page)
    assert "different environments" not in page


def test_costs_from_different_machines_come_with_a_warning(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.ran("good", 0, 1.0)
    elsewhere = {"env_id": shelf.store.keep_environment({"python": "3.12.0"})}
    monkeypatch.setattr(shelf, "environment", lambda: elsewhere)
    shelf.ran("good", 1, 1.0)
    assert "**These runs come from different environments" in shelf.page()


def test_suites_tracks_and_devices_are_not_mixed(shelf: Shelf) -> None:
    for mean, more in enumerate(({}, {"suite": "second"}, {"track": "equal_flops"}, {"device": "cuda"})):
        shelf.entry("good", float(mean), **more)
    assert sorted(shelf.board()["mean"].round(6)) == [0.0, 1.0, 2.0, 3.0]
    headings = [line for line in shelf.page().splitlines() if line.startswith("## ")]
    assert headings == [
        "## toy (equal steps, cpu)",
        "## second (equal steps, cpu)",
        "## toy (equal flops, cpu)",
        "## toy (equal steps, cuda)",
    ]


@pytest.mark.parametrize(
    ("found", "column"),
    [
        ({"nll": ("last",), "kl": ("last", "ema", "best")}, "kl_best"),
        ({"nll": ("last", "ema"), "recall": ("last", "best")}, "nll_ema"),
        ({"recall": ("last",)}, "recall"),
        ({}, None),
    ],
)
def test_a_data_set_is_ranked_by_the_surest_metric_that_it_has(
    shelf: Shelf, found: dict[str, tuple[str, ...]], column: str | None
) -> None:
    shelf.ran("good", 0, None, metrics={name: dict.fromkeys(v, estimate(1.0)) for name, v in found.items()})
    key = leaderboard.primary_key(shelf.records())
    assert (key.column if key else None) == column
    assert "good" in shelf.page()


def test_tables_for_print_have_a_word_where_there_is_no_number(shelf: Shelf, tmp_path: Path) -> None:
    shelf.ran("descent", 0, 0.123456)
    shelf.ran("descent", 1, None, status="diverged", reason="", metrics={})
    shelf.plan("descent", 2)
    frame = shelf.frame()
    frame.loc[1, "steps"] = 7
    for suffix in (".md", ".tex"):
        tables.write_table(frame, tmp_path / f"results{suffix}")
        written = (tmp_path / f"results{suffix}").read_text(encoding="utf-8")
        for word in ("0.1235", "diverged at 7", "missing", "n/a"):
            assert word in written
        assert not re.search(r"\b(nan|NaN|None|<NA>)\b", written)


def test_latex_is_a_booktabs_table_with_its_special_characters_escaped(shelf: Shelf, tmp_path: Path) -> None:
    shelf.ran("energy_discrepancy", 0, 0.1)
    tables.write_table(shelf.frame(), tmp_path / "results.tex")
    written = (tmp_path / "results.tex").read_text(encoding="utf-8")
    assert written.index(r"\toprule") < written.index(r"energy\_discrepancy") < written.index(r"\bottomrule")
    assert not re.search(r"[^\\]_", written)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("results.xlsx", "written as .csv, .csv.xz, .md, .tex or .parquet; got 'results.xlsx'"),
        ("nowhere/results.csv", r"needs a place to write to; '.*nowhere/results.csv': .*(No such|non-existent).*"),
        ("nowhere/results.md", r"needs a place to write to; '.*nowhere/results.md': No such file .*: give another"),
    ],
)
def test_a_table_that_cannot_be_written_is_one_clear_line(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        tables.write_table(pd.DataFrame({"a": [1]}), tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (1.2345, 0.0123, "1.234 ± 0.012"),
        (12.345, 1.23, "12.3 ± 1.2"),
        (123.4, 56.7, "123 ± 57"),
        (-0.5, 0.25, "-0.50 ± 0.25"),
        (0.001, 0.00002, "0.0010 ± 0.0000"),
        (3e7, 2e6, "3e+07 ± 2e+06"),
    ],
)
def test_a_mean_is_given_to_the_digits_that_its_interval_supports(mean: float, half: float, text: str) -> None:
    assert leaderboard._plus_minus(mean, half) == text
