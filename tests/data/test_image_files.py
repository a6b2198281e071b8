"""Files as people have them: read in place, checked before they are trusted, and refused in words."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api import UsageError, read_cifar, read_idx, read_photographs
from tests.helpers.tiny_archives import BATCHES, archived, batch, idx, jpeg, md5

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
FACE = {"size": (178, 218), "crop": 140, "side": 32}


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def written(folder: Path, name: str, raw: bytes) -> Path:
    (folder / name).write_bytes(raw)
    return folder / name


def test_an_idx_file_gives_its_images_packed_or_not(tmp_path: Path) -> None:
    raw = idx(PIXELS)
    assert np.array_equal(read_idx(written(tmp_path, "images", raw), sha256(raw)), PIXELS)
    assert np.array_equal(read_idx(written(tmp_path, "images.gz", gzip.compress(raw)), sha256(raw)), PIXELS)
    labels = idx(PIXELS[:, 0, 0])
    assert np.array_equal(read_idx(written(tmp_path, "labels", labels), sha256(labels)), PIXELS[:, 0, 0])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw[:-1], "announces 2368 bytes and has 2367"),
        (lambda raw: raw + b"x", "announces 2368 bytes and has more"),
        (lambda raw: raw[:7], "announces"),
        (lambda raw: b"", "begins with 2051 or 2049; this begins with 0"),
        (lambda raw: struct.pack(">I", 3331) + raw[4:], "this begins with 3331"),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "its sha256 must be"),
    ],
)
def test_a_spoilt_idx_file_is_refused_with_what_is_wrong(
    spoil: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    raw = idx(PIXELS)
    for name, pack in (("images", bytes), ("images.gz", gzip.compress)):
        with pytest.raises(UsageError, match=message):
            read_idx(written(tmp_path, name, pack(spoil(raw))), sha256(raw))


def test_a_torn_gzip_is_refused(tmp_path: Path) -> None:
    raw = idx(PIXELS)
    for torn in (gzip.compress(raw)[:-20], b"no gzip"):
        with pytest.raises(UsageError, match="is not the file that it should be"):
            read_idx(written(tmp_path, "images.gz", torn), sha256(raw))


def test_cifar_gives_the_same_images_from_the_archive_and_from_its_folder(tmp_path: Path) -> None:
    contents = {name: batch(COLOURS) for name in BATCHES}
    known = {name: md5(raw) for name, raw in contents.items()}
    archive = archived(tmp_path / "a.tar.gz", {f"cifar-10-batches-py/{k}": raw for k, raw in contents.items()})
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, raw in contents.items():
        written(folder, name, raw)
    for path in (archive, folder):
        images = read_cifar(path, md5(archive.read_bytes()), known)
        assert list(images) == list(known)
        assert all(np.array_equal(found, COLOURS) for found in images.values())


class Bomb:
    """Pickles to a call of os.mkdir."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_code_is_refused_even_with_the_right_checksum(protocol: int, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    raw = pickle.dumps({"data": Bomb(trap)}, protocol)
    folder = tmp_path / "batches"
    folder.mkdir()
    written(folder, "test_batch", raw)
    with pytest.raises(UsageError, match=r"it asks for posix\.mkdir, which no array needs"):
        read_cifar(folder, "", {"test_batch": md5(raw)})
    assert not trap.exists()
    pickle.loads(raw)
    assert trap.exists()  # the bomb is live


def test_a_checksum_is_looked_at_before_a_pickle(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    raw = pickle.dumps({b"data": Bomb(trap)}, 2)
    path = archived(tmp_path / "a.tar.gz", {"cifar-10-batches-py/test_batch": raw})
    with pytest.raises(UsageError, match=r"a\.tar\.gz is not the file that it should be: its md5 must be 0000"):
        read_cifar(path, "0000", {"test_batch": md5(raw)})
    with pytest.raises(UsageError, match=r"test_batch is not the file that it should be: its md5 must be 0000"):
        read_cifar(path, md5(path.read_bytes()), {"test_batch": "0000"})
    assert not trap.exists()


def test_members_that_point_out_of_an_archive_are_neither_written_nor_followed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    secret = written(tmp_path, "secret", batch(COLOURS))
    good = batch(COLOURS)
    path = home / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("../escaped", "/tmp/escaped-from-an-archive", "cifar-10-batches-py/../../escaped"):
            member = tarfile.TarInfo(name)
            member.size = len(good)
            archive.addfile(member, io.BytesIO(good))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("cifar-10-batches-py/test_batch")
            link.type, link.linkname = kind, str(secret)
            archive.addfile(link)
    with pytest.raises(UsageError, match="it lacks test_batch"):
        read_cifar(path, md5(path.read_bytes()), {"test_batch": md5(good)})
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar.gz", "home", "secret"]
    assert not Path("/tmp/escaped-from-an-archive").exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"no pickle",
        batch(COLOURS)[:-9],
        pickle.dumps({b"data": np.zeros((2, 3), np.uint8)}, 2),
        pickle.dumps({b"data": np.zeros((2, 3072))}, 2),
        pickle.dumps([]),
        pickle.dumps({}),
    ],
)
def test_a_batch_that_holds_no_such_images_is_refused(raw: bytes, tmp_path: Path) -> None:
    written(tmp_path, "test_batch", raw)
    with pytest.raises(UsageError, match="test_batch is not the file that it should be"):
        read_cifar(tmp_path, "", {"test_batch": md5(raw)})


def test_a_photograph_is_cropped_in_the_middle_and_resized_with_antialiasing(tmp_path: Path) -> None:
    columns, rows = np.meshgrid(np.arange(178), np.arange(218))
    image = np.stack([columns, rows, 255 * ((columns + rows) % 2)], -1).astype(np.uint8)
    written(tmp_path, "000001.jpg", jpeg(image))
    (x,) = read_photographs(tmp_path, ["000001.jpg"], size=(178, 218), crop=140, side=35).astype(float)
    centres = 4 * np.arange(35) + 1.5  # of blocks of 4
    inner = slice(1, -1)  # at the rim the filter is cut off
    assert np.abs(x[0][:, inner] - (19 + centres)[None, inner]).max() < 4
    assert np.abs(x[1][inner] - (39 + centres)[inner, None]).max() < 4
    assert np.abs(x[2] - 127.5).max() < 12  # a chessboard of single pixels is grey, not black or white


def test_photographs_are_the_same_from_a_zip_wherever_they_lie_in_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faces = {f"{k:06d}.jpg": jpeg(rng.integers(0, 256, (218, 178, 3), dtype=np.uint8)) for k in (1, 2)}
    for name, raw in faces.items():
        written(tmp_path, name, raw)
    expected = read_photographs(tmp_path, faces, **FACE)  # type: ignore[arg-type]
    assert expected.shape == (2, 3, 32, 32)
    for where in ("", "img_align_celeba/", "../../"):
        with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
            for name, raw in faces.items():
                archive.writestr(where + name, raw)
        found = read_photographs(tmp_path / "faces.zip", faces, **FACE)  # type: ignore[arg-type]
        assert np.array_equal(found, expected)
    assert not list(tmp_path.parent.glob("*.jpg"))


def test_a_photograph_that_is_missing_torn_or_of_another_size_is_named(tmp_path: Path) -> None:
    good = jpeg(np.zeros((218, 178, 3), np.uint8))
    contents = {"torn.jpg": good[: len(good) // 2], "small.jpg": jpeg(np.zeros((9, 9, 3), np.uint8)), "no.jpg": b"no"}
    for name, raw in contents.items():
        written(tmp_path, name, raw)
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for name, raw in contents.items():
            archive.writestr(name, raw)
    for path in (tmp_path, tmp_path / "faces.zip"):
        for name, message in (
            ("absent.jpg", "it lacks absent.jpg"),
            ("torn.jpg", "truncated"),
            ("small.jpg", "178×218 pixels; it is 9×9"),
            ("no.jpg", "cannot identify"),
        ):
            with pytest.raises(UsageError, match=message):
                read_photographs(path, [name], **FACE)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"torn\.zip is not the file"):
        read_photographs(written(tmp_path, "torn.zip", b"PK"), ["absent.jpg"], **FACE)  # type: ignore[arg-type]
