"""The table of generated images: a line a sampler, in the order of what was made from nothing, beside known sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from bench.common.errors import UsageError
from bench.common.run_spec import DatasetSpec, EvaluationSpec, Sampler
from bench.core.rng import Rng
from bench.evaluation.reference_sets import reference_metrics
from bench.plugins import builders
from bench.report.figures import images as images_module
from bench.report.figures import plots
from bench.report.figures.images import SAMPLERS as PICTURED
from bench.report.markdown.leaderboard_page import leaderboard_markdown
from bench.results import samples_table
from bench.results.records import Record, records_of
from bench.results.store import ARTEFACTS, Planned
from tests.helpers.store_builder import Shelf
from tests.helpers.toy_workers import toy_spec

N = 40  # samples; more than halves with four neighbours each need


def metrics(fids: dict[str, float], *, certified: bool = True) -> dict[str, Any]:
    """What a run says of its samples by each sampler."""
    found: dict[str, Any] = {}
    for sampler, fid in fids.items():
        about = {"certified": certified, "reason": "", "unit": "", "better": "lower", "n": N}
        detail = {"extractor": "digits-0123abcd"}
        found[f"fid.{sampler}"] = {"ema": {**about, "value": fid, "detail": detail}}
        found[f"recall.{sampler}"] = {"ema": {**about, "value": 0.5, "detail": detail}}
    return found


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_every_sampler_of_a_suite_has_a_name_in_the_table_and_in_the_picture() -> None:
    assert set(samples_table.SAMPLERS) == set(get_args(Sampler)) == {name.partition("_")[2] for name in PICTURED} - {""}


def test_chains_that_started_from_data_put_nobody_first(shelf: Shelf) -> None:
    shelf.ran("frozen", 0, None, metrics=metrics({"own": 90.0, "data": 1.0}))
    shelf.ran("better", 0, None, metrics=metrics({"own": 30.0, "data": 40.0}))
    shelf.ran("worst", 0, None, metrics=metrics({"noise": 200.0}))
    found = [(line.objective, line.sampler, line.fid) for line in samples_table.sample_lines(shelf.records())]
    assert found == [
        ("better", "own", 30.0),
        ("better", "data", 40.0),
        ("frozen", "own", 90.0),
        ("frozen", "data", 1.0),
        ("worst", "noise", 200.0),
    ]


def test_the_picture_shows_objectives_in_the_order_of_the_table(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fid in (("worse", 90.0), ("better", 30.0)):
        attempt = shelf.ran(name, 0, None, metrics=metrics({"own": fid}))
        images = np.zeros((4, 1, 8, 8))
        np.savez(attempt.folder / ARTEFACTS, data=images, samples_own=images)
    shown: list[str] = []
    monkeypatch.setattr(images_module, "samples", lambda entries, dataset: shown.extend(entries))
    plots.draw_figures(shelf.store, shelf.records(), shelf.store.root / "plots")
    assert shown == ["better", "worse"]


def test_the_floor_of_the_fid_stands_above_with_its_n(shelf: Shelf) -> None:
    found = metrics({"own": 30.0})
    found["fid.own"]["ema"]["detail"] |= {"floor": 2.168, "n_floor": 300}
    shelf.ran("better", 0, None, metrics=found)
    assert "; FID of 300 test images 2.17, 1 seed" in samples_table.samples_markdown(shelf.records(), {})


def test_a_value_that_bounds_says_so_above_the_ranking(shelf: Shelf) -> None:
    value = {"value": 3.0, "certified": True, "reason": "", "unit": "nats", "better": "lower"}
    shelf.ran("one", 0, None, metrics={"nll": {"last": {**value, "detail": {"bounds": "the truth from below"}}}})
    assert "the truth from below" in shelf.page()


def test_numbers_are_means_over_seeds_and_doubt_is_marked(shelf: Shelf) -> None:
    for seed, fid in enumerate((10.0, 14.0, 12.0)):
        shelf.ran("steady", seed, None, metrics=metrics({"own": fid}))
    shelf.ran("doubtful", 0, None, metrics=metrics({"own": 60.0}, certified=False))
    shelf.ran("doubtful", 1, None, status="diverged", last_step=3)
    steady, doubtful = samples_table.sample_lines(shelf.records())
    assert steady.fid == pytest.approx(12.0)
    assert steady.values["fid"] == "12.0 ± 5.0"
    assert steady.values["kid"] == "n/a"
    assert doubtful.values["fid"] == "60 (one seed)?, 1 of 2"
    text = samples_table.samples_markdown(shelf.records(), {})
    assert "**line**, n = 40, digits-0123abcd, 3 seeds:" in text
    assert "FID / FID of the Gaussian" not in text
    assert text in leaderboard_markdown(shelf.records())


def test_runs_without_named_samplers_have_no_table(shelf: Shelf) -> None:
    shelf.ran("descent", 0, 0.5)
    shelf.ran("ascent", 0, None, status="diverged")
    assert samples_table.samples_markdown(shelf.records(), {}) == ""


def on_digits(row: dict[str, Any]) -> list[Record]:
    """A run of toys on true data: the rulers look at these."""
    digits = DatasetSpec(name="digits", label="digits", ref="digits", params={"sigma": 0.15})
    spec = toy_spec(0, "steady", digits, evaluation=EvaluationSpec(samples=N))
    return records_of([(Planned.of(spec), {"status": "ok", **row})])


def test_a_page_has_the_table_beside_sets_whose_quality_is_known(tmp_path: Path) -> None:
    table = reference_metrics(builders.dataset("digits", Rng(0, "data"), sigma=0.15), N)
    table.to_csv(tmp_path / "digits.csv", index=False)
    known = samples_table.read_reference_sets(tmp_path / "digits.csv")
    least = known["pixel Gaussian"]["fid"]
    records = on_digits({"metrics": metrics({"own": least / 4})})
    text = samples_table.samples_markdown(records, {"digits": known})
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    by_name = {line[0]: line for line in lines}
    assert by_name["objective"][3] == "FID / FID of the Gaussian"
    assert by_name["steady"][3] == "0.25"
    assert {by_name[f"*{name}*"][1] for name in samples_table.REFERENCE_SETS} == {f"n = {N}"}
    assert by_name["*pixel Gaussian*"][2:4] == [f"{least:.3g}", "1.00"]
    assert float(by_name["*test*"][3]) < 1 < float(by_name["*uniform noise*"][3])


def test_a_table_that_is_not_of_reference_sets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("set,n\ntest,5\n", encoding="utf-8")
    with pytest.raises(UsageError, match="it lacks class_entropy, fid"):
        samples_table.read_reference_sets(tmp_path / "other.csv")
