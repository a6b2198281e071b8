"""Pictures of images: grids of samples beside the data, and strips of denoised photographs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Arrays = Mapping[str, np.ndarray]
SAMPLERS = {
    "samples": "long Metropolis-adjusted Langevin chains from noise",
    "samples_own": "the objective's own sampler",
    "samples_noise": "long Metropolis-adjusted Langevin chains from noise",
    "samples_data": "the same chains from training data",
    "samples_continued": "the same chains from where the objective's own sampler ends",
}
LEVEL = 25  # of 255: the noise at which denoised images are kept
METHODS = ("tweedie", "mean", "mode", "classical")
COLUMNS = 7
CROP = 128  # pixels of a photograph that a strip shows


def samples(entries: Mapping[str, Arrays], dataset: str) -> Figure | None:
    """Data first, then each objective's samples in grids of eight by eight; a row for each sampler."""
    rows = [name for name in SAMPLERS if any(name in arrays for arrays in entries.values())]
    if not rows:
        return None
    first = next(iter(entries.values()))["data"]
    columns = 1 + len(entries)
    size = 2.4 * columns, 2.5 * len(rows) + 1
    # tight_layout lets a row run into the next below long names
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
    for k, (row, name) in enumerate(zip(axes, rows, strict=True)):
        shown = {dataset: first, **{label: arrays.get(name) for label, arrays in entries.items()}}
        for axis, (label, images) in zip(row, shown.items(), strict=True):
            # a long name above a lower row would run into the row above it
            _panel(axis, label if k == 0 else "", None if images is None else tiled(images), first)
        row[0].text(-0.06, 0.5, textwrap.fill(SAMPLERS[name], 28), fontsize=8, rotation=90, va="center", ha="right",
                    transform=row[0].transAxes)  # fmt: skip
    figure.suptitle("Samples of the first seed", fontsize=10)
    return figure


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
        figure, axes = plt.subplots(lines, COLUMNS, figsize=(2.1 * COLUMNS, 2.8 * lines), squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for axis, (label, pixels) in zip(axes.flat, shown.items(), strict=False):
            quality = "" if label == "clean" else f"\n{_decibels(image, pixels, span):.2f} dB"
            _panel(axis, label, _middle(pixels), clean, quality)
        figure.tight_layout()
        yield figure


def tiled(images: np.ndarray) -> np.ndarray:
    """(n, C, H, W) as one image, in a square of rows with a gap of one pixel."""
    from skimage.util import montage

    pixels = np.moveaxis(images, 1, -1)
    fill = [float(images.min())] * images.shape[1]
    sheet: np.ndarray = montage(pixels, padding_width=1, fill=fill, channel_axis=-1)
    return sheet[..., 0] if images.shape[1] == 1 else sheet


def _panel(axis: Axes, label: str, pixels: np.ndarray | None, scale: np.ndarray, note: str = "") -> None:
    axis.axis("off")
    axis.set_title(textwrap.fill(label, 26) + note, fontsize=7.5)
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
