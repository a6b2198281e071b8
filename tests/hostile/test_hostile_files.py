"""Files that are none, never end, or unpack to more than they say, in place of what each reader expects."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.common.json_files import read_json
from bench.core.rng import Rng
from bench.data import image_files, user_images, user_points
from bench.plugins import builders, registry
from bench.results.attempt import Attempt
from bench.suites.schema import read_suite
from tests.helpers.bounded import refusal

Reader = Callable[[Path], object]


def photographs(path: Path) -> object:
    return image_files.read_photographs(path, ["a.jpg"], size=(8, 8), crop=4, side=2)


def cifar(path: Path) -> object:
    return image_files.read_cifar(path, "0" * 32, {"data_batch_1": "0" * 32})


READERS: dict[str, tuple[str, Reader]] = {
    "idx": ("images-idx3-ubyte", lambda path: image_files.read_idx(path, "0" * 64)),
    "idx.gz": ("images-idx3-ubyte.gz", lambda path: image_files.read_idx(path, "0" * 64)),
    "cifar": ("cifar.tar.gz", cifar),
    "zip": ("photographs.zip", photographs),
    "csv": ("points.csv", user_points.read_points),
    "npy": ("points.npy", user_points.read_points),
    "parquet": ("points.parquet", user_points.read_points),
    "images": ("images.npy", lambda path: user_images._array(path)),
    "data set": ("mine.npy", lambda path: builders.dataset(str(path), Rng(0, "data"))),
    "suite": ("suite.toml", lambda path: read_suite(str(path))),
    "plug-in": ("mine.py", lambda path: registry.find("objectives", str(path))),
    "row": ("row.json", read_json),
}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def circle(path: Path) -> None:
    path.with_name("other").symlink_to(path)
    path.symlink_to(path.with_name("other"))


def folder(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def content(value: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(value)

    return write


NO_FILES = {"pipe": pipe, "endless": endless, "circle": circle, "folder": folder, "dangling": dangling}
WRONG = {
    "empty": content(b""),
    "one byte": content(b"\0"),
    "nul": content(b"\0" * 100_000),
    "gzip of nothing": content(gzip.compress(b"")),
    "gzip bomb": content(gzip.compress(b"\0" * 50_000_000, 1)),
    "a torn gzip": content(gzip.compress(bytes(range(256)) * 100)[:40]),
    "one long line": content(b"1," * 700_000),
    "not utf-8": content(b"\xff\xfe,\xfa\n" * 1000),
    "brackets": content(b"[" * 200_000),
    "digits": content(b"9" * 500_000),
    "noise": content(np.random.default_rng(0).bytes(5000)),
    "other noise": content(np.random.default_rng(1).bytes(300)),
}
# what a reader may rightly say nothing about, or raise for its caller to handle
ACCEPTED = {("row", "dangling"), ("row", "circle")}


@pytest.mark.parametrize("kind", [*NO_FILES, "sparse", *WRONG])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_such_file_is_refused_in_a_sentence(reader: str, kind: str, tmp_path: Path) -> None:
    if (reader, kind) in ACCEPTED:
        pytest.skip("the caller handles an OSError")
    if kind == "sparse" and reader in ("row", "plug-in"):
        pytest.skip("a row is read whole; a plug-in is compiled by Python")
    name, read = READERS[reader]
    path = tmp_path / name
    {**NO_FILES, "sparse": sparse, **WRONG}[kind](path)
    said = refusal(lambda: read(path))
    assert said
    assert len(said) < 2000
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["a\0b.npy", "x" * 300 + ".csv", "\0.csv", "a\0/", "x" * 5000 + ".parquet"])
def test_a_path_that_no_file_can_have_is_refused(name: str, tmp_path: Path) -> None:
    assert refusal(lambda: builders.dataset(f"{tmp_path}/{name}", Rng(0, "data")))


# idx


def idx(*shape: int, magic: int = image_files.IDX_IMAGES, body: bytes = b"") -> bytes:
    return struct.pack(f">{1 + len(shape)}I", magic, *shape) + body


@pytest.mark.parametrize(
    "raw",
    [
        idx(2**32 - 1, 2**32 - 1, 2**32 - 1),
        idx(60_000, 28, 28),
        idx(1, 2, 2, body=b"\0" * 5),
        idx(0, 0, 0, body=b"\0"),
        idx(5, magic=image_files.IDX_LABELS, body=b"\0" * 4),
        idx(1, 1, 1, magic=2052, body=b"\0"),
        idx(1),
        idx(10, 28, 28, body=b"\0" * 60_000_000),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_is_read_no_further_than_it_announces(raw: bytes, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(raw, 1) if packed else raw)
    assert "is not the file that it should be" in refusal(lambda: image_files.read_idx(path, "0" * 64))


def bomb(path: Path, head: bytes, gigabytes: int) -> None:
    """A gzip file that unpacks to so many gigabytes of zeros."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, 31), b"\0" * (1 << 24)
    with path.open("wb") as file:
        file.write(packer.compress(head))
        for _ in range(gigabytes * 64):
            file.write(packer.compress(block))
        file.write(packer.flush())


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    bomb(path, idx(10, 28, 28), 2)
    assert path.stat().st_size < 4_000_000
    assert "announces 7856 bytes and has more" in refusal(lambda: image_files.read_idx(path, "0" * 64))


# CIFAR


def archive(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        for name, raw in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(raw)
            file.addfile(about, io.BytesIO(raw))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["cifar-10-batches-py/data_batch_1", "elsewhere"])
def test_an_archive_with_a_bomb_in_it_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "cifar.tar.gz"
    md5 = archive(path, {name: b"\0" * (image_files.MOST_BATCH + 1)})
    said = refusal(lambda: image_files.read_cifar(path, md5, {"data_batch_1": "0" * 32}))
    assert "more than a batch has" in said


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80\x05.",
        b"." * 1000,
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
        pickle.dumps({b"data": None}),
        pickle.dumps({b"data": [1, 2]}),
        pickle.dumps({b"data": np.zeros((2, 5), np.uint8)}),
        pickle.dumps({b"data": np.zeros((2, 3072))}),
        pickle.dumps([1]),
        pickle.dumps(7),
        b"(" * 100_000 + b".",
        b"cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_a_pickle_that_holds_no_images_is_refused(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(raw)
    md5 = hashlib.md5(raw).hexdigest()
    said = refusal(lambda: image_files.read_cifar(tmp_path, "0" * 32, {"data_batch_1": md5}))
    assert "is not the file that it should be" in said


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_batch_that_is_no_file_is_missing(kind: str, tmp_path: Path) -> None:
    NO_FILES[kind](tmp_path / "data_batch_1")
    assert "it lacks data_batch_1" in refusal(lambda: cifar(tmp_path))


# photographs


def zipped(path: Path, raw: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as file:
        file.writestr("a.jpg", raw)
    return bytearray(path.read_bytes())


def patched(raw: bytearray, offset: int, value: int, width: int = 2) -> bytearray:
    """With a field of the member's header, and of the directory's entry two bytes later, changed."""
    entry = raw.index(b"PK\x01\x02")
    raw[offset : offset + width] = value.to_bytes(width, "little")
    raw[entry + offset + 2 : entry + offset + 2 + width] = value.to_bytes(width, "little")
    return raw


@pytest.mark.parametrize(
    ("offset", "value", "width", "said"),
    [
        (6, 1, 2, "password"),
        (8, 99, 2, "not supported"),
        (8, 12, 2, "is not the file"),
        (8, 14, 2, "is not the file"),
        (22, 2**31, 4, "announces 2147483648 bytes"),
        (14, 1, 4, "Bad CRC"),
        (22, 5, 4, "is not the file"),
        (26, 60_000, 2, "is not the file"),
    ],
)
def test_a_zip_that_cannot_be_unpacked_says_why(offset: int, value: int, width: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(patched(zipped(path, b"no photograph at all" * 100), offset, value, width))
    assert said in refusal(lambda: photographs(path))


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    zipped(path, b"\0" * (image_files.MOST_PHOTOGRAPH + 1))
    assert "a photograph has at most" in refusal(lambda: photographs(path))


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_photograph_that_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    NO_FILES[kind](tmp_path / "a.jpg")
    assert refusal(lambda: photographs(tmp_path))


# images of one's own


def chunk(kind: bytes, raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + kind + raw + struct.pack(">I", zlib.crc32(kind + raw))


def png(width: int, height: int, rows: bytes = b"", depth: int = 8) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def good_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize("end", user_images.ENDS)
@pytest.mark.parametrize("cut", [0, 1, 20, 40, 60])
def test_a_torn_image_is_refused(end: str, cut: int, tmp_path: Path) -> None:
    path = tmp_path / f"a{end}"
    if end == ".webp" and cut > 30:
        cut = 30  # it is short
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    assert "cannot be read as an image" in refusal(lambda: user_images.user_images(tmp_path, Rng(0, "data")))


@pytest.mark.parametrize(
    "raw",
    [
        png(50_000, 50_000),
        png(7000, 7000),
        png(2**31 - 1, 1),
        png(2**31 - 1, 2**31 - 1),
        png(0, 0),
        png(8, 8, depth=3),
        png(6000, 6000, b"\0" * 100),
        good_png()[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 100_000_000, 9)) + good_png()[33:],
    ],
)
def test_an_image_that_unpacks_to_more_than_it_may_is_refused(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(raw)
    assert refusal(lambda: user_images.user_images(tmp_path, Rng(0, "data")))


def test_too_many_pixels_are_refused_before_the_second_image(tmp_path: Path) -> None:
    (tmp_path / "a0.png").write_bytes(png(3000, 3000, (b"\0" + b"\0" * 9000) * 3000))
    for k in range(1, 200):
        os.link(tmp_path / "a0.png", tmp_path / f"a{k}.png")
    assert "bytes of pixels together" in refusal(lambda: user_images.user_images(tmp_path, Rng(0, "data")))


# arrays and tables


def npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + body


HEADERS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (100, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }",
    "{'descr': '|V4000000000', 'fortran_order': False, 'shape': (2, 2), }",
    "{'descr': '<U9', 'fortran_order': False, 'shape': (1, 2), }",
    "{'descr': '<c16', 'fortran_order': False, 'shape': (1, 2), }",
    "{'descr': 'nonsense', 'fortran_order': False, 'shape': (2, 2), }",
    "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '<f8', 'fortran_order': 3, 'shape': (2, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': 7, }",
    "{'descr': '<f8'}",
    "[1, 2",
    "__import__('os').abort()",
    "(" * 2000,
    "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1), }",
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("reader", ["npy", "images", "data set"])
def test_a_header_that_lies_is_refused(header: str, reader: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    (tmp_path / name).write_bytes(npy(header, b"\0" * 160))
    assert refusal(lambda: read(tmp_path / name))


@pytest.mark.parametrize(
    "text",
    [
        b'"' + b"a" * 100_000,
        b"1,2\n3\n4,5,6\n",
        b"1,2\n\0\0,3\n",
        b"a,b\n1,x\n",
        b"\n\n\n",
        b"," * 200_000 + b"\n",
        b"a,a\n1,2\n1,2\n",
        b"1e999,2\n3,4\n",
        b"nan,2\n3,4\n",
        b"1;2\n3;4\n",
        b"1\t2\n3\t4\n",
        b"\xef\xbb\xbf\n",
        b"=cmd|' /C calc'!A0,2\n3,4\n",
        b"a,b\n" + b'"\n' * 1000,
        b"0x10,2\n1,2\n",
    ],
)
def test_a_table_that_is_none_is_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_bytes(text)
    assert refusal(lambda: user_points.read_points(tmp_path / "points.csv"))


# stores


@pytest.mark.parametrize("kind", ["pipe", "endless", "folder"])
@pytest.mark.parametrize("name", ["row.json", "curve.jsonl"])
def test_a_run_whose_file_is_none_stops_nobody(name: str, kind: str, tmp_path: Path) -> None:
    NO_FILES[kind](tmp_path / name)
    attempt = Attempt(tmp_path)
    if name == "row.json":
        assert refusal(attempt.row)
    else:
        assert refusal(attempt.curve) == ""
