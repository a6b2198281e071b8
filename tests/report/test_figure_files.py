"""Figures as files: within their limit of bytes, with their colours, and the same bytes for the same figure."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench.report.figures.save import DPI, LIMIT, _rendered, save


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def noisy() -> Figure:
    figure, axis = plt.subplots(figsize=(5, 5))
    axis.imshow(np.random.default_rng(0).uniform(size=(500, 500, 3)), interpolation="nearest")
    return figure


@pytest.mark.parametrize("limit", [LIMIT, 60_000, 15_000])
def test_a_saved_png_is_within_its_limit_and_says_what_it_is(limit: int, tmp_path: Path) -> None:
    path = save(noisy(), tmp_path / "noise.png", "commit 123", limit)
    assert limit / 3 < path.stat().st_size <= limit
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.text["Description"] == "commit 123"  # type: ignore[attr-defined]


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("width", [2.003, 3.14159, 4.5])
def test_it_is_drawn_once_and_as_matplotlib_crops_it(width: float, constrained: bool) -> None:
    figure = plt.figure(figsize=(width, 2.2), layout="constrained" if constrained else None)
    axis = figure.add_subplot() if constrained else figure.add_axes((0.2, 0.25, 0.7, 0.6))
    axis.plot([0, 3], [1, 2])
    figure.text(0.0, -0.1, "beneath")
    figure.savefig(buffer := io.BytesIO(), format="png", dpi=DPI, bbox_inches="tight")
    assert np.array_equal(np.asarray(_rendered(figure, DPI)), np.asarray(Image.open(buffer).convert("RGB")))


def test_a_small_figure_keeps_its_resolution_and_its_white(tmp_path: Path) -> None:
    figure = plt.figure(figsize=(4, 3))
    figure.add_axes((0.0, 0.0, 1.0, 1.0)).plot([0, 1], [0, 1], color="red")
    with Image.open(save(figure, tmp_path / "line.png")) as image:
        assert image.width >= 4 * DPI
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
    assert {(255, 255, 255), (255, 0, 0)} <= colours


def test_a_palette_keeps_the_grey_of_letters_beside_many_hues(tmp_path: Path) -> None:
    figure, axis = plt.subplots(figsize=(4, 4))
    axis.imshow(np.add.outer(np.arange(300.0), np.arange(300.0)), cmap="viridis")
    axis.set_title("a name")
    figure.savefig(tmp_path / "full.png", dpi=DPI, bbox_inches="tight")
    save(figure, tmp_path / "palette.png")
    full, palette = (np.asarray(Image.open(tmp_path / f"{n}.png").convert("RGB"), int) for n in ("full", "palette"))
    assert np.abs(full - palette).max() <= 16


def test_a_palette_keeps_large_pale_areas_as_they_are(tmp_path: Path) -> None:
    figure = plt.figure(figsize=(4, 4))
    pale = ["#efe7f5", "#fdeedd", "#e3f1e1", "#f9dfdf"]
    for k, colour in enumerate(pale):
        figure.add_axes((0.0, k / 4, 1.0, 0.2), facecolor=colour, xticks=[], yticks=[])
        figure.axes[k].scatter(*np.random.default_rng(k).uniform(size=(2, 300)), c=np.arange(300), cmap="hsv", s=2)
    with Image.open(save(figure, tmp_path / "pale.png")) as image:
        counts = image.convert("RGB").getcolors(1 << 20) or []
    large = {"#{:02x}{:02x}{:02x}".format(*colour) for count, colour in counts if count > 5000}
    assert large == {*pale, "#ffffff"}
