"""Pictures of images: grids of samples beside the data, and strips of denoised photographs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.figures.layout import Lines, Sheet, lines_high, named, tall, titled, wrapped
from bench.report.figures.save import DPI

Arrays = Mapping[str, np.ndarray]
SAMPLERS = {
    "samples": "long Metropolis-adjusted Langevin chains from noise",
    "samples_own": "the objective's own sampler",
    "samples_noise": "long Metropolis-adjusted Langevin chains from noise",
    "samples_tempered": "the same chains, tempered in their first half",
    "samples_data": "the same chains from training data",
    "samples_continued": "the same chains from where the objective's own sampler ends",
}
LEVEL = 25  # of 255: the noise at which denoised images are kept
METHODS = ("tweedie", "mean", "mode", "classical")
COLUMNS = 7
CROP = 128  # pixels of a photograph that a strip shows
MOST_ALONG = 8  # samples along a side of a grid
BUDGET = 400_000  # pixels of all grids of a picture: noise does not compress
PIXELS = 260  # that a side of a grid is at most wide, where its images allow it
_LEFT, _GAP, _STRIP = 0.55, 0.08, 1.9  # inches
_SIZE, _SMALL = 7.5, 6.0  # of names and settings, in points


def samples(entries: Mapping[str, Arrays], dataset: str) -> Figure | None:
    """Data first, then each objective's samples in square grids; a row for each sampler.

    Args:
        entries: by written name, arrays (n, C, H, W) by what they are; as many images of each are shown as keep the
            picture small.
        dataset: its written name.
    """
    rows = [name for name in SAMPLERS if any(name in arrays for arrays in entries.values())]
    if not rows:
        return None
    first = next(iter(entries.values()))["data"]
    side, panel = _grid(first.shape, len(rows) * (1 + len(entries)))
    titles = {label: named(label, panel, _SIZE, _SMALL) for label in (dataset, *entries)}
    head = 0.35 + max(tall(lines) for lines in titles.values())
    sheet = Sheet.of(_LEFT + (1 + len(entries)) * (panel + _GAP), head + len(rows) * (panel + _GAP))
    sheet.text(sheet.width / 2, 0.05, "Samples of the first seed", 10, ha="center")
    for k, name in enumerate(rows):
        top = head + k * (panel + _GAP)
        shown = {dataset: first, **{label: arrays.get(name) for label, arrays in entries.items()}}
        for j, (label, images) in enumerate(shown.items()):
            axis = sheet.axes(_LEFT + j * (panel + _GAP), top, panel, panel)
            # one row of names is enough
            _panel(axis, titles[label] if k == 0 else [], None if images is None else tiled(images[: side**2]), first)
        about = "\n".join(wrapped(SAMPLERS[name], panel, _SIZE))
        sheet.text(_LEFT - 0.08, top + panel / 2, about, _SIZE, rotation=90, va="center", ha="right", ma="center")
    return sheet.figure


def _grid(shape: tuple[int, ...], panels: int) -> tuple[int, float]:
    """Images along a side of each grid, and the grid's width in inches, so that a pixel is drawn as whole pixels."""
    count, longest = shape[0], max(shape[2:])
    sides = range(MOST_ALONG, 1, -1)
    side = next((k for k in sides if panels * (k * (longest + 1) + 1) ** 2 <= BUDGET), 1)
    side = min(side, math.ceil(math.sqrt(count)))
    pixels = side * (longest + 1) + 1
    return side, pixels * max(1, PIXELS // pixels) / DPI


def strips(entries: Mapping[str, Arrays]) -> Iterator[Figure]:
    """A figure for each kept image: clean, noisy, then as every entry denoised it, with its PSNR.

    Of an entry's methods the first of `METHODS` that it has is shown.
    """
    first = next((arrays for arrays in entries.values() if "clean" in arrays), None)
    if first is None:
        return
    clean, noisy, span = first["clean"], first[f"noisy_{LEVEL}"], first["value_range"]
    found = {label: images for label, arrays in entries.items() if (images := _denoised(arrays)) is not None}
    for k, image in enumerate(clean):
        shown = {"clean": image, f"noisy, σ = {LEVEL} of 255": noisy[k]}
        shown |= {label: images[k] for label, images in found.items() if label != "noisy image"}
        lines = -(-len(shown) // COLUMNS)
        titles = [named(label, _STRIP, _SIZE, _SMALL) for label in shown]
        head = max(tall(title) for title in titles) + lines_high(1, _SIZE) + 0.1
        sheet = Sheet.of(COLUMNS * (_STRIP + _GAP), lines * (_STRIP + head))
        for j, (label, pixels) in enumerate(shown.items()):
            line, column = divmod(j, COLUMNS)
            place = column * (_STRIP + _GAP), line * (_STRIP + head) + head
            quality = "" if label == "clean" else f"{_decibels(image, pixels, span):.2f} dB"
            _panel(sheet.axes(*place, _STRIP, _STRIP), titles[j], _middle(pixels), clean, quality)
        yield sheet.figure


def tiled(images: np.ndarray) -> np.ndarray:
    """(n, C, H, W) as one image, in a square of rows with a gap of one pixel."""
    from skimage.util import montage

    pixels = np.moveaxis(images, 1, -1)
    fill = [float(images.min())] * images.shape[1]
    sheet: np.ndarray = montage(pixels, padding_width=1, fill=fill, channel_axis=-1)
    return sheet[..., 0] if images.shape[1] == 1 else sheet


def _panel(axis: Axes, title: Lines, pixels: np.ndarray | None, scale: np.ndarray, note: str = "") -> None:
    axis.axis("off")
    if title:
        titled(axis, title, note)
    if pixels is None:
        axis.text(0.5, 0.5, "none", ha="center", va="center", fontsize=8)
        return
    low, high = float(scale.min()), float(scale.max())
    shown = np.clip((pixels - low) / (high - low), 0, 1)
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _denoised(arrays: Arrays) -> np.ndarray | None:
    names = [f"denoised_{method}_{LEVEL}" for method in METHODS]
    return next((arrays[name] for name in names if name in arrays), None)


def _middle(image: np.ndarray) -> np.ndarray:
    """The middle of an image (C, H, W), channels last, or (H, W) of one channel."""
    top, left = (max(0, (n - CROP) // 2) for n in image.shape[1:])
    crop = np.moveaxis(image[:, top : top + CROP, left : left + CROP], 0, -1)
    return crop[..., 0] if image.shape[0] == 1 else crop


def _decibels(clean: np.ndarray, image: np.ndarray, span: np.ndarray) -> float:
    low, high = (float(v) for v in span)
    return float(10 * np.log10((high - low) ** 2 / np.mean((np.clip(image, low, high) - clean) ** 2)))
