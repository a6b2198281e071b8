"""The table of generated images: a line a sampler, in the order of what was made from nothing, beside known sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shelf import Shelf
from workers import ToySpec, about

from bench import leaderboard, load, plots, plots_images, samples_table
from bench.errors import UsageError
from bench.plots_images import SAMPLERS as PICTURED
from bench.readme import KINDS
from bench.rng import Rng
from bench.rulers import rulers
from bench.spec import SAMPLERS
from bench.store import ARTEFACTS, Planned
from bench.table import Record

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
    assert set(samples_table.SAMPLERS) == set(SAMPLERS) == {name.partition("_")[2] for name in PICTURED} - {""}


def test_chains_that_started_from_data_put_nobody_first(shelf: Shelf) -> None:
    shelf.ran("frozen", 0, None, metrics=metrics({"own": 90.0, "data": 1.0}))
    shelf.ran("better", 0, None, metrics=metrics({"own": 30.0, "data": 40.0}))
    shelf.ran("worst", 0, None, metrics=metrics({"noise": 200.0}))
    found = [(line.objective, line.sampler, line.fid) for line in samples_table.lines(shelf.records())]
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
    monkeypatch.setattr(plots_images, "samples", lambda entries, dataset: shown.extend(entries))
    plots.draw(shelf.store, shelf.records(), shelf.store.root / "plots")
    assert shown == ["better", "worse"]


def test_numbers_are_means_over_seeds_and_doubt_is_marked(shelf: Shelf) -> None:
    for seed, fid in enumerate((10.0, 14.0, 12.0)):
        shelf.ran("steady", seed, None, metrics=metrics({"own": fid}))
    shelf.ran("doubtful", 0, None, metrics=metrics({"own": 60.0}, certified=False))
    shelf.ran("doubtful", 1, None, status="diverged", last_step=3)
    steady, doubtful = samples_table.lines(shelf.records())
    assert steady.fid == pytest.approx(12.0)
    assert steady.values["fid"] == "12.0 ± 5.0"
    assert steady.values["kid"] == "n/a"
    assert doubtful.values["fid"] == "60 (one seed)?, 1 of 2"
    text = samples_table.markdown(shelf.records())
    assert "**line**, n = 40, digits-0123abcd, 3 seeds:" in text
    assert "of the Gaussian's" not in text
    assert text in leaderboard.markdown(shelf.store, shelf.records())


def test_runs_without_named_samplers_have_no_table(shelf: Shelf) -> None:
    shelf.ran("descent", 0, 0.5)
    shelf.ran("ascent", 0, None, status="diverged")
    assert samples_table.markdown(shelf.records()) == ""


def on_digits(row: dict[str, Any]) -> list[Record]:
    """A run of toys on true data: the rulers look at these."""
    digits = {**about("digits"), "ref": "digits", "params": {"sigma": 0.15}}
    spec = ToySpec(objective=about("steady"), dataset=digits, evaluation={"samples": N})
    return [Record(Planned.of(spec), {"status": "ok", **row})]


def test_a_page_has_the_table_beside_sets_whose_worth_is_known() -> None:
    data = load.dataset("digits", Rng(0, "data"), sigma=0.15)
    least = float(rulers(data, N).set_index("set").to_dict("index")["pixel Gaussian"]["fid"])
    text = KINDS["samples"](on_digits({"metrics": metrics({"own": least / 4})}))
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    by_name = {line[0]: line for line in lines}
    assert by_name["objective"][3] == "of the Gaussian's"
    assert by_name["steady"][3] == "0.25"
    assert {by_name[f"*{name}*"][1] for name in samples_table.RULERS} == {f"n = {N}"}
    assert by_name["*pixel Gaussian*"][2:4] == [f"{least:.3g}", "1.00"]
    assert float(by_name["*test*"][3]) < 1 < float(by_name["*uniform noise*"][3])


def test_a_page_does_not_ask_for_samples_of_a_suite_that_has_none() -> None:
    with pytest.raises(UsageError, match="judged no sampler by its name; a page takes its ranking"):
        KINDS["samples"](on_digits({"metrics": {}}))
