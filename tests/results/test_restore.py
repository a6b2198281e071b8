"""Rows that are committed on one machine complete a suite on another."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.main import main
from bench.report.markdown.pages import add_rows
from bench.results.committed_rows import read_rows
from bench.results.records import Record, read_records
from bench.results.store import Store
from tests.helpers.store_builder import Shelf


def values(records: list[Record]) -> dict[tuple[str, str, int], float | None]:
    return {(r.objective, r.dataset, r.spec.seed): next((v.value for v in r.values.values()), None) for r in records}


def test_a_restored_store_has_the_rows_and_runs_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    narrow = ["--suite", "smoke", "--objective", "denoising_score_matching,sliced_score_matching"]
    assert main(["run", *narrow, "--out", "first"]) == 0
    add_rows(read_records(Store(tmp_path / "first")), tmp_path / "results")
    assert main(["restore", "results/data/smoke.csv.xz", "--out", "second"]) == 0
    assert "2 of 2 runs restored" in capsys.readouterr().out
    assert main(["verify", "second"]) == 0
    before = values(read_records(Store(tmp_path / "second")))
    assert main(["run", *narrow, "--out", "second"]) == 0
    assert capsys.readouterr().err.count("already complete") or not list((tmp_path / "second").rglob("*-a2"))
    assert values(read_records(Store(tmp_path / "second"))) == before
    assert main(["restore", "results/data/smoke.csv.xz", "--out", "second"]) == 0
    assert "0 of 2 runs restored" in capsys.readouterr().out


def test_rows_of_other_data_sets_and_settings_stay_when_some_are_published(tmp_path: Path) -> None:
    first, second = Shelf(tmp_path / "first"), Shelf(tmp_path / "second")
    first.entry("a", 0.2, dataset="line")
    first.entry("a", 0.3, dataset="ring")
    add_rows(first.records(), tmp_path / "results")
    second.entry("a", 0.4, dataset="ring")
    second.entry("a", 0.5, dataset="ring", tuned=True)
    add_rows(second.records(), tmp_path / "results")
    rows = read_rows(tmp_path / "results" / "data" / "toy.csv.xz")
    means = {(r.objective, r.dataset) for r in rows}
    assert means == {("a", "line"), ("a", "ring"), ("a (tuned)", "ring")}
    assert values(rows)[("a", "ring", 0)] == 0.4
    newer = Shelf(tmp_path / "third")
    newer.entry("a", 0.6, dataset="line", suite_version=2)
    add_rows(newer.records(), tmp_path / "results")
    assert {r.dataset for r in read_rows(tmp_path / "results" / "data" / "toy.csv.xz")} == {"line"}
