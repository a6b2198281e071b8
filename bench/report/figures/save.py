"""Write figures to files; a PNG never grows beyond a limit, so that pages and repositories can hold many."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.spatial import cKDTree

DPI = 110
LIMIT = 300_000  # bytes of a PNG
# palettes, best first: how many colours, and how many of them are the commonest colours as they are
PALETTES = ((256, 128), (256, 64), (256, 0), (128, 0))
LEAST_DPI = 10.0
BAND = 128  # rows of pixels whose colours are replaced at a time, for less memory
# where a file's format keeps words about it, and the date that would make each drawing another file
_ABOUT = {
    ".svg": ("Description", "Date"),
    ".pdf": ("Subject", "CreationDate"),
}


def save(figure: Figure, path: Path, about: str = "", limit: int = LIMIT) -> Path:
    """Writes a figure and closes it; returns the file. The same figure gives the same bytes.

    Args:
        figure: what to write; the file is cropped to what is drawn.
        path: its suffix says the format.
        about: a text that the file carries in its description.
        limit: bytes that a PNG must not exceed. It is stored with a palette of 256 colours; where that is too large,
            with less exact or fewer colours, then with fewer pixels.
    """
    if path.suffix.lower() == ".png":
        path.write_bytes(_within(figure, about, limit))
    else:
        with mpl.rc_context({"svg.hashsalt": path.stem, "pdf.fonttype": 42}):
            description, date = _ABOUT.get(path.suffix, ("", ""))
            figure.savefig(
                path, dpi=DPI, bbox_inches="tight", metadata={description: about, date: None} if date else None
            )
    plt.close(figure)
    return path


def described(path: Path) -> str:
    """The text that a PNG carries in its description; "" where there is none, or no picture."""
    try:
        with Image.open(path) as image:
            return str(image.info.get("Description", ""))
    except OSError:
        return ""


def _within(figure: Figure, about: str, limit: int) -> bytes:
    """The bytes of the first palette image within the limit, at the highest resolution that has one."""
    dpi = float(DPI)
    while True:
        image = _rendered(figure, dpi)
        for colours, exact in PALETTES:
            data = _encoded(_reduced(image, colours, exact), about)
            if len(data) <= limit:
                return data
        if dpi <= LEAST_DPI:
            return data
        dpi = max(LEAST_DPI, dpi * min(0.9, math.sqrt(limit / len(data))))


def _rendered(figure: Figure, dpi: float) -> Image.Image:
    if figure.get_layout_engine() is not None:  # places are known only once all is drawn
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of tight layout, in tall figures
            figure.savefig(buffer := io.BytesIO(), format="png", dpi=dpi, bbox_inches="tight")
        return Image.open(buffer).convert("RGB")
    # the same pixels without drawing twice: "tight" would draw all of it to find its bounds
    before, figure.dpi = figure.dpi, dpi
    box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer()).padded(mpl.rcParams["savefig.pad_inches"])
    FigureCanvasBase(figure)  # lets go of that renderer
    figure.savefig(buffer := io.BytesIO(), format="rgba", dpi=dpi, bbox_inches=box)
    figure.dpi = before
    size = int(box.width * dpi), int(box.height * dpi)
    pixels = np.frombuffer(buffer.getbuffer(), np.uint8)
    return Image.frombuffer("RGBA", size, pixels).convert("RGB")


def _reduced(image: Image.Image, colours: int, exact: int) -> Image.Image:
    """The image with a palette, undithered: dithering draws patterns into flat areas, which do not compress.

    Median cut would let rare colours fall to common ones, which greys lines and letters; the coverage of all colours
    alone would shift large pale areas. So the palette covers all, and holds the commonest as they are.
    """
    covering = image.quantize(colours - exact, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    if not exact:
        return covering
    found = image.getcolors(image.width * image.height) or []
    split = np.array([colour for _, colour in found], np.int64)
    order = np.argsort(_numbers(split))
    split, counts = split[order], np.array([count for count, _ in found])[order]
    commonest = split[np.argsort(-counts, kind="stable")[:exact]]
    palette = np.vstack([commonest, np.reshape(covering.getpalette() or [], (-1, 3))])
    nearest = np.zeros(1 << 24, np.uint8)  # by colour: less than a place for each pixel
    nearest[_numbers(split)] = cKDTree(palette).query(split)[1]
    bands = [image.crop((0, top, image.width, min(top + BAND, image.height))) for top in range(0, image.height, BAND)]
    reduced = Image.fromarray(np.vstack([nearest[_numbers(np.asarray(band, np.int32))] for band in bands]))
    reduced.putpalette(palette.astype(np.uint8).tobytes())
    return reduced


def _numbers(colours: NDArray[Any]) -> NDArray[Any]:
    """Colours (..., 3) as one number each."""
    numbers: NDArray[Any] = colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]
    return numbers


def _encoded(image: Image.Image, about: str) -> bytes:
    buffer, text = io.BytesIO(), PngInfo()
    if about:
        text.add_text("Description", about)
    image.save(buffer, "png", optimize=True, pnginfo=text)
    return buffer.getvalue()
