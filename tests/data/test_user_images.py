"""Images of one's own by the path of their folder: read, split by their pixels, refused in words."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.api import UsageError
from bench.cli.main import main
from bench.core.rng import Rng
from bench.data import user_images
from bench.plugins import builders

SUITE = """
base = "images"
name = "mine"
objectives = ["multiscale_denoising_score_matching"]
datasets = ["{data}"]
seeds = "0"
primary = "sliced_wasserstein.noise"
[network]
name = "multiscale_convolutional"
width = 4
stages = 2
blocks = 0
[budget]
steps = 3
batch = 16
[evaluation]
checkpoints = 1
samples = 20
sampler_steps = 2
samplers = ["noise", "data"]
variants = ["ema"]
"""


def pixels(n: int = 120, side: int = 8, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def save(folder: Path, images: np.ndarray, end: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(folder / f"{k:04d}{end}")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "pictures", pixels())


def test_a_folder_of_images_keeps_the_contract_of_a_data_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{folder}/"]) == 0
    assert "events (1, 8, 8)" in capsys.readouterr().out
    assert main(["show", f"{folder}/[test=0.3]"]) == 0


def test_pixels_come_back_whole(folder: Path) -> None:
    data = builders.dataset(f"{folder}/", Rng(0, "data"))
    found = ((torch.cat([data.train, data.valid, data.test]) + 1) * 128).floor().to(torch.uint8)
    assert {image.tobytes() for image in found.numpy()} == {image.tobytes() for image in pixels()}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_and_an_array_of_either_order_agree(tmp_path: Path, channels: int) -> None:
    images = pixels(channels=channels)
    given = [save(tmp_path / "pictures", images, ".bmp")]
    for name, array in (
        ("last.npy", images),
        ("first.npy", images.transpose(0, 3, 1, 2)),
        ("grey.npy", images[..., 0]),
    ):
        if array.ndim == 4 or channels == 1:
            np.save(tmp_path / name, array)
            given.append(tmp_path / name)
    parts = [builders.dataset(str(path), Rng(0, "data")) for path in given]
    for other in parts[1:]:
        assert len(other.train) == len(parts[0].train)
        assert torch.equal(other.test.flatten().sort()[0].floor(), parts[0].test.flatten().sort()[0].floor())


def test_equal_images_are_in_one_part(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", pixels())
    save(folder / "again", pixels())
    data = builders.dataset(f"{folder}/", Rng(0, "data"))
    assert len(data.train) + len(data.valid) + len(data.test) == 240
    kept = [{i.tobytes() for i in ((part + 1) * 128).floor().numpy()} for part in (data.train, data.valid, data.test)]
    assert sum(map(len, kept)) == len(set.union(*kept))


def test_sizes_and_colours_are_made_alike_where_asked(folder: Path) -> None:
    Image.new("RGBA", (20, 12), (255, 0, 0, 0)).save(folder / "seen-through.png")
    with pytest.raises(UsageError, match=r"seen-through.png has mode RGBA: give \[colour=rgb\]"):
        builders.dataset(f"{folder}/", Rng(0, "data"))
    with pytest.raises(UsageError, match=r"0000.png is 8×8 RGB, seen-through.png is 20×12 RGB: give \[size=32\]"):
        builders.dataset(f"{folder}/[colour=rgb]", Rng(0, "data"))
    data = builders.dataset(f"{folder}/[colour=rgb,size=6]", Rng(0, "data"))
    assert data.train.shape[1:] == (3, 6, 6)
    whole = torch.cat([data.train, data.valid, data.test])
    assert int((whole.flatten(1).amin(1) > 0.99).sum()) == 1, "what is transparent is white"


def test_mixed_modes_are_named(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "colour.png")
    with pytest.raises(UsageError, match=r"0000.png is 8×8 grey, colour.png is 8×8 RGB: give \[colour=rgb\]"):
        builders.dataset(f"{folder}/", Rng(0, "data"))


def test_what_is_no_image_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    builders.dataset(f"{folder}/", Rng(0, "data"))
    (folder / "0003.png").write_bytes((folder / "0003.png").read_bytes()[:60])
    with pytest.raises(UsageError, match=r"0003.png cannot be read as an image"):
        builders.dataset(f"{folder}/", Rng(0, "data"))
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "0003.png")
    with pytest.raises(UsageError, match=r"0003.png has mode I;16: save it as 8-bit"):
        builders.dataset(f"{folder}/", Rng(0, "data"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="must hold one"):
        builders.dataset(f"{tmp_path}/empty/", Rng(0, "data"))


def png_of_16_bits(path: Path) -> None:
    """An RGB image of 8 by 8 pixels whose channels have two bytes, which Pillow reads and does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head, rows = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0), (b"\0" + bytes(range(48))) * 8
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def test_what_reading_would_cut_down_is_refused_and_a_turned_image_stands_upright(tmp_path: Path) -> None:
    png_of_16_bits(tmp_path / "deep.png")
    with pytest.raises(UsageError, match=r"8 bits a channel; deep.png has 16: save it as 8-bit"):
        user_images.read_image(tmp_path / "deep.png", "rgb")
    pages = [Image.new("L", (8, 8), shade) for shade in (0, 100, 200)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(UsageError, match=r"must hold one image; pages.tiff has 3: save each by itself"):
        user_images.read_image(tmp_path / "pages.tiff", "grey")
    pages[1].convert("RGB").save(tmp_path / "camera.jpg", "MPO", save_all=True, append_images=[pages[2].convert("RGB")])
    assert (user_images.read_image(tmp_path / "camera.jpg", "grey") == 100).all()
    upright = np.arange(48, dtype=np.uint8).reshape(8, 6)
    turned = Image.fromarray(np.rot90(upright))  # as a camera that lay on its side stores it, with a note that it did
    about = Image.Exif()
    about[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=about)
    assert np.array_equal(user_images.read_image(tmp_path / "turned.png", "grey")[0], upright)


@pytest.mark.parametrize("asked", ["size=4", "colour=grey", "size=4,colour=rgb"])
def test_an_array_of_pixels_is_taken_as_it_is_and_no_option_is_ignored(tmp_path: Path, asked: str) -> None:
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 255, (60, 8, 8, 3)).astype(np.uint8))
    with pytest.raises(UsageError, match=r"taken as they are; got \[" + asked):
        builders.dataset(f"{tmp_path}/images.npy[{asked}]", Rng(0, "data"))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((50, 8, 8), np.float32), "must be bytes; got float32"),
        (np.zeros((50, 2, 8, 8), np.uint8), r"C of 1 or 3; images.npy has \(50, 2, 8, 8\)"),
        (np.zeros((50, 8, 8), np.uint8), "each part needs 10 examples"),
        (np.zeros((2, 3, 8, 8, 1), np.uint8), r"C of 1 or 3; images.npy has \(2, 3, 8, 8, 1\)"),
    ],
)
def test_an_array_that_is_no_set_of_images_is_refused(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.save(tmp_path / "images.npy", array)
    with pytest.raises(UsageError, match=said):
        builders.dataset(str(tmp_path / "images.npy"), Rng(0, "data"))


def test_an_extractor_must_be_made_for_the_shape(folder: Path, tmp_path: Path) -> None:
    assert builders.dataset(f"{folder}/[extractor=digits-5054ac5d]", Rng(0, "data")).extractor == "digits-5054ac5d"
    with pytest.raises(UsageError, match=r"takes images \(1, 28, 28\); these are \(1, 8, 8\)"):
        builders.dataset(f"{folder}/[extractor=fashion28-434e5f55]", Rng(0, "data"))


def test_one_command_ranks_objectives_on_a_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(SUITE.format(data=f"{folder}/"), encoding="utf-8")
    store = tmp_path / "store"
    assert main(["run", "--suite", str(tmp_path / "mine.toml"), "--jobs", "1", "--out", str(store)]) == 0
    page = (store / "leaderboard.md").read_text(encoding="utf-8")
    assert "pictures: `sliced_wasserstein_noise_ema` in x" in page
    assert "| MDSM" in page
    assert list((store / "plots").glob("mine-*pictures*.png"))
    Image.fromarray(pixels(1)[0].squeeze()).save(folder / "0000.png")
    assert main(["run", "--suite", str(tmp_path / "mine.toml"), "--jobs", "1", "--out", str(store)]) == 0


def test_an_image_that_changes_is_another_data_set(folder: Path) -> None:
    before = builders.dataset(f"{folder}/", Rng(0, "data")).content
    Image.new("L", (8, 8), 7).save(folder / "0000.png")
    assert builders.dataset(f"{folder}/", Rng(0, "data")).content != before
