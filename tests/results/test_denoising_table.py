"""The table of denoised images: paired by image, averaged over seeds, words where there is no number."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.common.run_spec import DENOISER, ContrastSpec, EvaluationSpec
from bench.report import terminal
from bench.report.figures.images import samples, strips
from bench.report.html import sections
from bench.report.markdown.leaderboard_page import leaderboard_markdown
from bench.results import denoising_table
from bench.results.denoising_table import LEVELS, RULER
from bench.results.samples_table import SAMPLERS
from tests.helpers.store_builder import Shelf

METRICS = {"denoising_psnr": "sha", "denoising_ssim": "sha"}
PLANNED: dict[str, Any] = {"evaluation": EvaluationSpec(metrics=METRICS)}


def metrics(method: str, images: list[float]) -> dict[str, Any]:
    value = {"value": sum(images) / len(images), "certified": True, "reason": "", "unit": "dB", "better": "higher"}
    found = {"ema": {**value, "detail": {"images": images}}}
    return {f"denoising_{name}.{method}_{level}": found for name in ("psnr", "ssim") for level in LEVELS}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_gain_is_paired_by_image_and_averaged_over_seeds(shelf: Shelf) -> None:
    for seed, shift in ((0, 0.0), (1, 0.4)):
        shelf.ran(RULER, seed, None, metrics=metrics("classical", [20.0, 30.0, 25.0]), **PLANNED)
        shelf.ran("descent", seed, None, metrics=metrics("mean", [21.0 + shift, 31.1 + shift, 25.9 + shift]), **PLANNED)
    lines = denoising_table.denoising_lines(shelf.records())
    assert [line.objective for line in lines] == ["descent", RULER]
    change = denoising_table.gain(*lines, 25)
    # the photographs differ by ten decibels, the gains by a tenth of one
    assert change.mean == pytest.approx(1.2)
    assert change.high is not None
    assert change.high - 1.2 < 0.3


def test_a_method_without_a_number_has_no_line_and_a_failed_run_has_a_word(shelf: Shelf) -> None:
    shelf.ran("descent", 0, None, metrics=metrics("mode", [20.0, 21.0]), **PLANNED)
    shelf.ran("ascent", 0, None, status="diverged", last_step=7, **PLANNED)
    text = denoising_table.denoising_markdown(shelf.records())
    assert "posterior mode" in text
    assert "| Tweedie's formula" not in text
    (line,) = (line for line in text.splitlines() if line.startswith("| ascent"))
    assert "diverged at 7" in line


def test_what_is_not_certified_is_marked(shelf: Shelf) -> None:
    found = metrics("mean", [20.0, 21.0])
    found["denoising_psnr.mean_25"] = {"ema": {**found["denoising_psnr.mean_15"]["ema"], "certified": False}}
    shelf.ran("descent", 0, None, metrics=found, **PLANNED)
    (line,) = denoising_table.denoising_frame(shelf.records()).to_dict("records")
    assert [line[f"PSNR, σ = {level}"] for level in LEVELS] == ["20.50", "20.50?", "20.50"]


def test_one_failed_seed_leaves_no_mean_over_the_others(shelf: Shelf) -> None:
    shelf.ran("descent", 0, None, metrics=metrics("mean", [20.0, 21.0]), **PLANNED)
    shelf.ran("descent", 1, None, status="timeout", **PLANNED)
    (line,) = denoising_table.denoising_lines(shelf.records())
    assert isinstance(line.psnr[25], str)


def test_runs_that_were_to_denoise_nothing_have_no_table(shelf: Shelf) -> None:
    shelf.ran("descent", 0, 0.5)
    shelf.ran("ascent", 0, None, status="diverged")
    assert denoising_table.denoising_markdown(shelf.records()) == ""
    assert "Noise of σ" not in leaderboard_markdown(shelf.records())


def test_a_strip_shows_each_entry_s_image_with_its_own_quality() -> None:
    clean = np.linspace(-1, 1, 2 * 64, dtype=np.float32).reshape(2, 1, 8, 8)
    arrays = {"clean": clean, "noisy_25": clean + 0.1, "value_range": np.array([-1.0, 1.0])}
    entries = {"good": {**arrays, "denoised_mean_25": clean + 0.02}, "bad": {**arrays, "denoised_mode_25": -clean}}
    figures = list(strips(entries))
    assert len(figures) == 2
    titles = [axis.get_title() for axis in figures[0].axes if axis.get_title()]
    assert [title.partition("\n")[0] for title in titles] == ["clean", "noisy, σ = 25 of 255", "good", "bad"]
    assert float(titles[2].split()[1]) > 30 > 10 > float(titles[3].split()[1])
    assert list(strips({"none": {"data": clean}})) == []


def test_the_page_has_a_section_of_each_suite_that_denoised(shelf: Shelf) -> None:
    shelf.ran("descent", 0, None, metrics=metrics("mean", [20.0, 21.0]), **PLANNED)
    shelf.ran("descent", 0, 0.5, suite="other")
    (section,) = sections.denoised(shelf.store.root, shelf.records())
    assert section.title == "Denoised line: toy"
    assert "20.50" in section.table.to_string()


def test_a_board_of_classical_denoisers_alone_has_their_table_and_nothing_ranked(shelf: Shelf) -> None:
    shelf.ran(RULER, 0, None, metrics=metrics("classical", [20.0, 30.0]), kind=DENOISER, **PLANNED)
    (line,) = (line for line in shelf.page().splitlines() if line.startswith(f"| {RULER}"))
    assert "25.00" in line
    printed = StringIO()
    terminal.print_leaderboard(shelf.records(), Console(file=printed, width=200))
    assert "nothing is ranked" in printed.getvalue()


def test_samples_have_a_row_for_each_sampler_of_a_suite_and_their_names_above_the_first() -> None:
    images = np.linspace(0, 1, 256).reshape(4, 1, 8, 8)
    entries = {name: {"data": images, **{f"samples_{s}": images for s in SAMPLERS}} for name in ("one", "two")}
    figure = samples(entries, "line")
    assert figure is not None
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["line", "one", "two"] + [""] * 3 * (len(SAMPLERS) - 1)


def test_restored_images_have_columns_against_the_guess_that_they_begin_from(shelf: Shelf) -> None:
    found = metrics("mode", [20.0, 21.0])
    value = {"value": 25.5, "certified": True, "reason": "", "unit": "dB", "better": "higher"}
    detail = {"images": [25.0, 26.0], "start": [24.0, 24.8]}
    found["restoration_psnr.inpainting"] = {"ema": {**value, "detail": detail}}
    found["restoration_psnr.super_resolution"] = {"ema": {**value, "value": None, "reason": "n/a (too smooth)"}}
    planned = {"evaluation": EvaluationSpec(metrics={**METRICS, "restoration_psnr": "sha"})}
    shelf.ran("descent", 0, None, metrics=found, **planned)
    shelf.ran(RULER, 0, None, metrics=metrics("classical", [20.0, 30.0]), kind=DENOISER, **planned)
    text = denoising_table.denoising_markdown(shelf.records())
    (line,) = (line for line in text.splitlines() if line.startswith("| descent"))
    assert "25.50 (+1.10; -0.17 to +2.37)" in line
    assert "n/a (too smooth)" in line
    assert "half of the pixels are missing" in text
    shelf.specs.clear()
    shelf.ran("descent", 0, None, metrics=metrics("mode", [20.0, 21.0]), **PLANNED)
    assert "super-resolution" not in denoising_table.denoising_markdown(shelf.records())


def test_published_values_stand_beside_those_of_the_same_images_and_say_whence_they_are(shelf: Shelf) -> None:
    for dataset in ("photos[held_out=bsd68]", "photos"):
        shelf.ran("descent", 0, None, dataset=dataset, metrics=metrics("mode", [20.0, 21.0]), **PLANNED)
    text = denoising_table.denoising_markdown(shelf.records())
    (line,) = (line for line in text.splitlines() if line.startswith("| BM3D (published; recalled"))
    assert [cell.strip() for cell in line.split("|")][3:6] == ["31.07", "28.57", "25.62"]
    assert text.count("| DnCNN (published") == 1
    assert denoising_table.published_lines("photos[whole=128]") == []


def test_a_reference_behind_a_gaussian_filter_is_named(shelf: Shelf) -> None:
    asked = (
        ContrastSpec(name="one over two", entry="one", reference="two", metric="denoising_psnr.mode_25"),
        ContrastSpec(name="two over one", entry="two", reference="one", metric="denoising_psnr.mode_25"),
    )
    shelf.ran("gaussian_filter", 0, None, metrics=metrics("classical", [26.0, 28.0]), **PLANNED)
    for name, decibels in (("one", 30.0), ("two", 25.0)):
        shelf.ran(name, 0, None, metrics=metrics("mode", [decibels, decibels]), contrasts=asked, **PLANNED)
    sentence = "two, 25.00 dB at σ = 25, is behind a Gaussian filter, 27.00 dB"
    (found,) = denoising_table.behind_a_filter(shelf.records())
    assert found.startswith(sentence)
    assert sentence in denoising_table.denoising_markdown(shelf.records())
    assert not denoising_table.behind_a_filter(shelf.records(), "two*")
