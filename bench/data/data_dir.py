"""Where a user keeps the data sets that do not come with the project."""

from __future__ import annotations

import os
from pathlib import Path

from bench.common.errors import UsageError
from bench.common.machine_faults import LostDataError
from bench.common.paths import expanded, user_cache

ENVIRONMENT = "EBM_BENCH_DATA"


class AbsentDataError(LostDataError):
    """A data set's files are not on this machine; its runs stay in the plan, skipped, with this message as reason."""

    def __init__(self, dataset: str, way_out: str = "") -> None:
        fetch = way_out or f"run python -m bench data fetch {dataset}"
        super().__init__(f"{dataset} not found in {data_dir()}; {fetch} or give --data-dir")


def data_dir() -> Path:
    """The folder of the variable EBM_BENCH_DATA, which --data-dir sets, else `ebm-bench` in the user's cache."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        return expanded(Path(given)).absolute()
    return user_cache() / "ebm-bench"


def use_data_dir(folder: Path, *, must_exist: bool) -> None:
    """Makes `folder` the data directory of this process and of those that it starts.

    Raises:
        UsageError: if it must exist and is no folder.
    """
    if must_exist and not expanded(folder).is_dir():
        raise UsageError(f"--data-dir must be a folder; there is none at '{folder}'")
    os.environ[ENVIRONMENT] = str(expanded(folder).absolute())


def locate(dataset: str, *names: str, way_out: str = "") -> Path:
    """The first of the files or folders `names` that exists, in the data directory's folder `dataset` or in itself.

    Args:
        way_out: how to get them, where `data fetch` does not.

    Raises:
        AbsentDataError: if none does.
    """
    candidates = [folder / name for name in names for folder in (data_dir() / dataset, data_dir())]
    for path in candidates:
        if path.exists():
            return path
    raise AbsentDataError(dataset, way_out)
