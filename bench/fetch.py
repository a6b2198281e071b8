"""Downloads of the data sets that do not come with the project: checked, resumed, and in words where it fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench import load
from bench.data_files import AbsentDataError, data_dir
from bench.declare import Download
from bench.errors import UsageError
from bench.rng import Rng

CHUNK = 2**16
PATIENCE = (10, 60)  # seconds to connect, and between two pieces of an answer


def fetch(name: str, *, base_url: str = "") -> list[Path]:
    """Downloads a data set's files into its folder of the data directory; those that are there already stay.

    Args:
        name: the data set.
        base_url: a mirror, to ask for the same file names instead of the public address.

    Raises:
        UsageError: if the data set comes with the project or may only be got by hand, or if a file cannot be had or is
            not the one with the known checksum.
    """
    info = load.find("datasets", name).info
    if info.by_hand:
        raise UsageError(f"{info.name} is not fetched: {info.by_hand}; put it into {data_dir() / info.name}")
    if info.comes_along:
        raise UsageError(f"{info.name} needs no download: it comes with the project, or with what it depends on")
    folder = data_dir() / info.name
    return [_retrieve(each, folder, f"{base_url}/{each.name}" if base_url else each.url) for each in info.downloads]


def _retrieve(download: Download, folder: Path, url: str) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    print(f"fetching {url}", file=sys.stderr)
    try:
        resuming = _Resuming(folder / download.name)
        path = pooch.retrieve(url, download.checksum, download.name, folder, downloader=resuming)
    except ValueError as error:
        if isinstance(error, requests.exceptions.RequestException):  # an address that is none
            raise _unreachable(url, folder, error) from None
        raise UsageError(f"{url} is not the file with {download.checksum}; try again, or get it elsewhere") from None
    except OSError as error:  # every failure of requests is one, and so is a full disk
        raise _unreachable(url, folder, error) from None
    return Path(path)


class _Resuming:
    """A downloader for pooch that goes on where an interrupted download of the same file stopped."""

    def __init__(self, target: Path) -> None:
        self.part = target.with_name(f"{target.name}.part")

    def __call__(self, url: str, output: Any, _pooch: object) -> None:
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        # identity, because a server that unpacks a .gz on the way changes its checksum
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        with requests.get(url, headers=headers, stream=True, timeout=PATIENCE) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                self.part.unlink()  # it is no shorter than the whole
                self(url, output, _pooch)
                return
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            with self.part.open("ab" if resumed else "wb") as file:
                for piece in response.iter_content(CHUNK):
                    file.write(piece)
        self.part.replace(output)  # pooch looks at the checksum


def _unreachable(url: str, folder: Path, error: Exception) -> UsageError:
    status = getattr(getattr(error, "response", None), "status_code", "")
    return UsageError(
        f"{url} could not be fetched ({f'{type(error).__name__} {status}'.strip()}); what has come is kept: run the "
        f"command again to go on, or put the file into {folder} by hand"
    )


def listing() -> str:
    """One line a data set: whether its files are here, and if not, how to get them."""
    names = load.names("datasets")
    lines = [f"data directory: {data_dir()}"]
    for name in names:
        lines.append(f"  {name:{max(map(len, names))}}  {_standing(name)}")
    return "\n".join(lines)


def _standing(name: str) -> str:
    info = load.find("datasets", name).info
    if info.comes_along:
        return "comes with the project"
    try:
        load.dataset(name, Rng(0, "data"), n_train=1, n_valid=1, n_test=1)
    except AbsentDataError:
        return f"not here: {info.by_hand or f'python -m bench data fetch {name}'}"
    except UsageError as error:
        return f"broken: {error}"
    return "here"
