"""Pictures inside a Markdown page: drawn from a store's rows; each says in itself which runs it was made from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bench import plots, report
from bench.errors import UsageError
from bench.store import Store
from bench.table import Record

LINK = re.compile(r"!\[[^\]]*\]\(([^)#]+\.png)\)")
ABOUT = "Description"  # the text inside a PNG that names its runs, as in every figure that is drawn
PAGE = "page"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1400, 1000)  # pixels of the page's top that its picture shows
PATIENCE = 300.0  # seconds


def made(store: Store, records: Sequence[Record], what: str, path: Path, about: str) -> str:
    """Writes the picture of a suite to `path`, with `about` inside; returns why it could not be made, or "".

    Args:
        records: of that suite.
        what: a figure's name without its suite, such as "densities-two_spirals" ("*" stands for anything), or "page":
            the top of the store's whole page, as Chromium shows it.
        about: which runs these are.

    Raises:
        UsageError: if the suite's figures hold none of that name, or several.
    """
    with tempfile.TemporaryDirectory() as folder:
        if what == PAGE:
            drawn = Path(folder) / "page.png"
            report.write(store.root, drawn.with_suffix(".html"))
            if reason := _photographed(drawn.with_suffix(".html"), drawn):
                return reason
        else:
            drawn = _figure(store, records, what, Path(folder))
        with Image.open(drawn) as image:
            text = PngInfo()
            text.add_text(ABOUT, about)
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, pnginfo=text, optimize=True)
    return ""


def says(path: Path) -> str:
    """Which runs a picture was made from, by its own words; "" if it has none."""
    with Image.open(path) as image:
        return str(getattr(image, "text", {}).get(ABOUT, ""))


def _figure(store: Store, records: Sequence[Record], what: str, folder: Path) -> Path:
    suite = records[0].run.suite
    names = {path.stem.removeprefix(f"{suite}-"): path for path in plots.draw(store, records, folder)}
    chosen = [path for name, path in names.items() if fnmatch(name, what)]
    if len(chosen) != 1:
        raise UsageError(
            f"a picture must be one figure of suite {suite}; '{what}' is {len(chosen)} of: {', '.join(names) or 'none'}"
        )
    return chosen[0]


def _photographed(page: Path, out: Path) -> str:
    """Why a browser could not take the picture of a page, or ""."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return f"a picture of the page needs a browser ({', '.join(BROWSERS)}); none is installed"
    command = [browser, "--headless=new", "--hide-scrollbars", f"--window-size={SIZE[0]},{SIZE[1]}"]
    # Chromium refuses to be root in its sandbox; the page is our own file and asks for nothing
    command += ["--no-sandbox"] * (os.geteuid() == 0)
    command += [f"--user-data-dir={page.parent / 'profile'}", f"--screenshot={out}", page.as_uri()]
    try:
        subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
    except subprocess.TimeoutExpired:
        return f"{Path(browser).name} took more than {PATIENCE:g} s to show the page"
    except (OSError, subprocess.SubprocessError) as error:
        return f"{Path(browser).name} took no picture of the page: {error}"
    return "" if out.exists() else f"{Path(browser).name} took no picture of the page"
