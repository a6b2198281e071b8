"""Downloads, against a server on this machine: checked, resumed where they stopped, and refused in words."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from bench.api import UsageError
from bench.cli.main import main
from bench.data import data_dir
from bench.plugins import registry
from bench.plugins.download import CHUNK, download_dataset
from tests.helpers.dataset_params import ABSENT

CONTENT = np.random.default_rng(0).bytes(300_000)
PLUGIN = '''
from bench.api import Data, Download, Rng, dataset, locate

@dataset(source="this test", downloads=(Download("{url}/tiny.bin", "sha256:{sha256}"),))
def tiny(rng: Rng) -> Data:
    """Nothing but a file."""
    raise NotImplementedError(locate("tiny", "tiny.bin"))
'''


@dataclass
class Shop:
    """A server of one file, and how it misbehaves.

    Attributes:
        stop_after: close the connection after so many bytes of an answer; None to send them all.
        ranges: whether it answers a request for a part with that part.
        asked: the Range of each request, "" for the whole.
    """

    content: bytes = CONTENT
    stop_after: int | None = None
    ranges: bool = True
    status: int = 200
    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shop = Shop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            shop.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and shop.ranges else 0
            if start and start >= len(shop.content):
                self.send_error(416)
                return
            if shop.status != 200:
                self.send_error(shop.status)
                return
            body = shop.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: shop.stop_after])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        shop.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv(data_dir.ENVIRONMENT, str(tmp_path / "data"))
        yield shop
        server.shutdown()


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    """A data set whose own address leads nowhere: the tests give the server's."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    path = tmp_path / "tiny.py"
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    path.write_text(PLUGIN.format(url=f"http://127.0.0.1:{port}", sha256=sha256), encoding="utf-8")
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tiny"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_into_its_folder_and_only_once(shop: Shop, plugin: str, folder: Path) -> None:
    for _ in range(2):
        assert download_dataset(plugin, base_url=shop.url) == [folder / "tiny.bin"]
    assert (folder / "tiny.bin").read_bytes() == CONTENT
    assert names(folder) == ["tiny.bin"]
    assert shop.asked == [""]


def test_a_download_goes_on_where_it_was_interrupted(shop: Shop, plugin: str, folder: Path) -> None:
    shop.stop_after = CHUNK + 1000  # what was cut off within a chunk comes again
    for _ in range(2):
        with pytest.raises(UsageError, match="the partial file is kept: run the command again to continue"):
            download_dataset(plugin, base_url=shop.url)
        assert names(folder) == ["tiny.bin.part"]
    shop.stop_after = None
    download_dataset(plugin, base_url=shop.url)
    assert (folder / "tiny.bin").read_bytes() == CONTENT
    assert names(folder) == ["tiny.bin"]
    starts = [int(asked.removeprefix("bytes=").removesuffix("-") or 0) for asked in shop.asked]
    assert starts == [0, CHUNK, 2 * CHUNK]


def test_a_server_that_knows_no_parts_sends_the_whole_again(shop: Shop, plugin: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "tiny.bin.part").write_bytes(CONTENT[:1000])
    shop.ranges = False
    download_dataset(plugin, base_url=shop.url)
    assert (folder / "tiny.bin").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_dropped(shop: Shop, plugin: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "tiny.bin.part").write_bytes(CONTENT + b"more")
    download_dataset(plugin, base_url=shop.url)
    assert (folder / "tiny.bin").read_bytes() == CONTENT
    assert shop.asked == [f"bytes={len(CONTENT) + 4}-", ""]


def test_a_file_with_another_checksum_is_not_kept(shop: Shop, plugin: str, folder: Path) -> None:
    shop.content = CONTENT[:-1] + b"?"
    with pytest.raises(UsageError, match=r"tiny\.bin is not the file with sha256:"):
        download_dataset(plugin, base_url=shop.url)
    assert names(folder) == []
    shop.content = CONTENT
    download_dataset(plugin, base_url=shop.url)
    assert (folder / "tiny.bin").read_bytes() == CONTENT


def test_a_spoilt_file_that_lies_there_is_fetched_again(shop: Shop, plugin: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "tiny.bin").write_bytes(b"spoilt")
    download_dataset(plugin, base_url=shop.url)
    assert (folder / "tiny.bin").read_bytes() == CONTENT


def test_a_part_of_another_file_ends_in_a_new_start(shop: Shop, plugin: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "tiny.bin.part").write_bytes(b"?" * 1000)
    with pytest.raises(UsageError, match="is not the file with"):
        download_dataset(plugin, base_url=shop.url)
    download_dataset(plugin, base_url=shop.url)
    assert (folder / "tiny.bin").read_bytes() == CONTENT


def test_what_a_server_refuses_is_said_with_its_status(shop: Shop, plugin: str) -> None:
    shop.status = 404
    with pytest.raises(UsageError, match=r"cannot download http://\S+ \(HTTPError 404\)"):
        download_dataset(plugin, base_url=shop.url)


def test_offline_is_one_line_and_bad_input(
    shop: Shop, plugin: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "fetch", plugin]) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("bench: cannot download http://127.0.0.1:")
    assert "(ConnectionError)" in last
    assert last.endswith(f"or put the file into {folder} manually")


def test_what_may_only_be_got_by_hand_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(data_dir.ENVIRONMENT, str(tmp_path))
    assert main(["data", "fetch", "celeba"]) == 2
    said = capsys.readouterr().err
    assert "get img_align_celeba.zip by hand from http" in said
    assert f"put it into {tmp_path / 'celeba'}" in said


def test_what_comes_along_needs_no_download(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "digits"]) == 2
    assert "needs no download" in capsys.readouterr().err


@pytest.mark.parametrize("name", ABSENT)
def test_every_absent_set_can_be_fetched_with_a_checksum_or_says_how_to_get_it(name: str) -> None:
    info = registry.find("datasets", name).info
    assert bool(info.downloads) != bool(info.manual_download)
    for download in info.downloads:
        algorithm, _, digest = download.checksum.partition(":")
        assert len(digest) == len(hashlib.new(algorithm).hexdigest())
        assert download.url.startswith("http")
        assert "/" not in download.name


def test_list_tells_what_is_here_from_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(data_dir.ENVIRONMENT, str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(b"torn")
    assert main(["data", "list"]) == 0
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert "broken: " in said["mnist"]
    assert "missing: python -m bench data fetch cifar10" in said["cifar10"]
    assert "included" in said["digits"]
    assert sorted(said) == registry.names("datasets")
