"""Downloads of the data sets that do not come with the project: checked, resumed, and in words where it fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.core.declarations import Download
from bench.core.rng import Rng
from bench.data.data_dir import AbsentDataError, data_dir
from bench.plugins import builders, registry

CHUNK = 2**16
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of an answer


def download_dataset(name: str, *, base_url: str = "") -> list[Path]:
    """Downloads a data set's files into its folder of the data directory; those that are there already stay.

    Args:
        name: the data set.
        base_url: a mirror, to ask for the same file names instead of the public address.

    Raises:
        UsageError: if the data set comes with the project or may only be got by hand, or if a file cannot be had or is
            not the one with the known checksum.
    """
    info = registry.find("datasets", name).info
    if info.manual_download:
        raise UsageError(
            f"{info.name} must be downloaded manually: {info.manual_download}; put it into {data_dir() / info.name}"
        )
    if info.bundled:
        raise UsageError(f"{info.name} needs no download; it is part of the project or of a dependency")
    folder = data_dir() / info.name
    return [_retrieve(each, folder, f"{base_url}/{each.name}" if base_url else each.url) for each in info.downloads]


def _retrieve(download: Download, folder: Path, url: str) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    print(f"downloading {url}", file=sys.stderr)
    try:
        resuming = _Resuming(folder / download.name)
        path = pooch.retrieve(url, download.checksum, download.name, folder, downloader=resuming)
    except ValueError as error:
        if isinstance(error, requests.exceptions.RequestException):  # an address that is none
            raise _unreachable(url, folder, error) from None
        raise UsageError(
            f"{url} is not the file with {download.checksum}; try again or download it elsewhere"
        ) from None
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
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
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
        f"cannot download {url} ({f'{type(error).__name__} {status}'.strip()}); the partial file is kept: run the "
        f"command again to continue, or put the file into {folder} manually"
    )


def downloads_listing() -> str:
    """One line a data set: whether its files are here, and if not, how to get them."""
    names = registry.names("datasets")
    lines = [f"data directory: {data_dir()}"]
    for name in names:
        lines.append(f"  {name:{max(map(len, names))}}  {_standing(name)}")
    return "\n".join(lines)


def _standing(name: str) -> str:
    info = registry.find("datasets", name).info
    if info.bundled:
        return "included"
    try:
        builders.dataset(name, Rng(0, "data"), n_train=1, n_valid=1, n_test=1)
    except AbsentDataError:
        return f"missing: {info.manual_download or f'python -m bench data fetch {name}'}"
    except UsageError as error:
        return f"broken: {error}"
    return "available"
