"""Saved arrays as small pictures inside a page: densities and score errors on fixed scales, grids of images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from bench.report.figures.images import tiled
from bench.report.figures.layout import plain_number

SCORE_ERROR = (0.1, 100.0)  # the ends of the logarithmic colour scale, the same in every picture


def pictures(arrays: dict[str, np.ndarray], truth: float | None = None) -> dict[str, str]:
    """Data URIs by what they show; `truth` is the peak of the true log density, where black to white ends."""
    found: dict[str, str] = {}
    if "log_density" in arrays:
        peak = float(arrays.get("log_truth", arrays["log_density"]).max()) if truth is None else truth
        found["density"] = _coloured(np.exp(arrays["log_density"] - peak), "magma")
    if "score_error" in arrays:
        low, high = np.log(SCORE_ERROR)
        # an error of exactly zero is as dark as the scale goes
        error = np.log(np.maximum(arrays["score_error"], SCORE_ERROR[0]))
        found["score error"] = _coloured((error - low) / (high - low), "viridis")
    for name, values in arrays.items():
        if values.ndim == 4 and values.shape[1] in (1, 3):
            found[name.replace("_", " ")] = _montage(values, arrays.get("data", values))
    return found


def scales(kinds: Sequence[str]) -> list[dict[str, Any]]:
    """The colour bars of those kinds of picture that have one: a data URI and its marks, from dark to bright."""
    ramp = np.linspace(0, 1, 256)[:, None]
    powers = range(*(round(np.log10(end)) + k for k, end in enumerate(SCORE_ERROR)))
    known = {
        "density": ("density over the truth's peak", "magma", ["0", "0.25", "0.5", "0.75", "1"]),
        "score error": ("‖model score − true score‖", "viridis", [plain_number(10.0**power) for power in powers]),
    }
    return [
        {"kind": kind, "what": what, "uri": _coloured(ramp, colours), "marks": marks}
        for kind, (what, colours, marks) in known.items()
        if kind in kinds
    ]


def is_given(name: str) -> bool:
    """Whether a picture shows what every objective was given, and so belongs beside all of them once."""
    return name in ("data", "clean") or name.startswith("noisy")


def truth(arrays: dict[str, np.ndarray]) -> str | None:
    """The true density of a data set as a picture, where it is known."""
    if "log_truth" not in arrays:
        return None
    return _coloured(np.exp(arrays["log_truth"] - arrays["log_truth"].max()), "magma")


def _coloured(share: np.ndarray, colours: str) -> str:
    """(x, y) in [0, 1] as an indexed PNG, y upwards."""
    index = np.clip(np.nan_to_num(share) * 255, 0, 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(index.T[::-1]), mode="L")
    image.putpalette((mpl.colormaps[colours](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes())
    return _uri(image)


def _montage(images: np.ndarray, scale: np.ndarray) -> str:
    """(n, C, H, W) as one picture, black and white at the ends of the data's range."""
    low, high = float(scale.min()), float(scale.max())
    sheet = np.clip((tiled(images) - low) / max(high - low, 1e-12), 0, 1) * 255
    return _uri(Image.fromarray(sheet.astype(np.uint8)))


def _uri(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
