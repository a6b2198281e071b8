"""Where the project's files lie: in a checkout, or inside the installed package."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the folder that holds the package `bench`
PACKAGE = ROOT / "bench"
BUNDLED = PACKAGE / "bundled"  # a wheel has here what a checkout has beside the package
HOME = BUNDLED if BUNDLED.is_dir() else ROOT
OBJECTIVES = HOME / "objectives"
DATASETS = HOME / "datasets"
DATASET_FILES = DATASETS / "files"
PUBLISHED = HOME / "results" / "published.csv"
BASELINE = HOME / "results" / "baselines" / "main.json"
USERS_BASELINE = Path("ebm-baseline.json")  # of a suite of somebody's own, in the working directory
SUITES = PACKAGE / "suites"
TEMPLATES = PACKAGE / "templates"
# which read a data set that is given by the path of its file, or of its folder
USER_POINTS = PACKAGE / "data" / "user_points.py"
USER_IMAGES = PACKAGE / "data" / "user_images.py"
HARNESS = PACKAGE / "runner" / "stacked_run.py"  # whose code every run depends on; it imports single_run.py
EXTRACTORS = PACKAGE / "extractors"


def in_checkout() -> bool:
    """Whether the working directory lies in the checkout that this code is of."""
    return HOME == ROOT and Path.cwd().resolve().is_relative_to(ROOT)


def results_folder() -> Path:
    """Where results go unless a command says otherwise, relative to the working directory."""
    return Path("results") if in_checkout() else Path("ebm-bench-results")


def default_store() -> Path:
    """The store that `run` writes and the other commands read."""
    return Path("results/runs") if in_checkout() else Path("ebm-bench-results")


def expanded(path: Path) -> Path:
    """The path with "~" filled in; as it is where nobody knows whose home that would be."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def user_cache() -> Path:
    """The user's cache folder; one for temporary files where the user has no home."""
    folder = expanded(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))
    return folder if folder.is_absolute() else Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
