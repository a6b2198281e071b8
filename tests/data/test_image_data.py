"""What the image data sets promise: nothing of a test image in training, fixed splits, pixels as they were released."""

from __future__ import annotations

import json
import math
import runpy
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.api import Data, Rng, UsageError, embedded
from bench.common import paths
from bench.data import image_data
from bench.plugins import builders
from tests.helpers.dataset_params import DATASETS

WINDOW = 8
EMBEDDED = sorted(path.stem for path in image_data.DATASET_FILES.glob("*.npz"))


@cache
def built(ref: str, seed: int = 0) -> Data:
    return builders.dataset(ref, Rng(seed, "data"))


def windows(image: Tensor, stride: int) -> np.ndarray:
    """A hash of the 8×8 windows of an image in units of x, colours added up, that are not flat."""
    levels = (image + 1).sum(0).mul(127.5 * 64).round().long()
    flat = levels.unfold(0, WINDOW, stride).unfold(1, WINDOW, stride).flatten(2).flatten(0, 1)
    flat = flat[flat.float().std(1) > 64]  # of at least a level: a black sky may be in any photograph
    weights = torch.from_numpy(np.random.default_rng(0).integers(-(2**62), 2**62, WINDOW**2))
    return (flat * weights).sum(1).numpy()


def found(patches: Tensor, photographs: Tensor) -> float:
    """The share of the patches' windows that occur in some photograph, as they are or mirrored."""
    known = np.concatenate([windows(photo, 1) for photo in photographs])
    mirrored = [patches.flip(axes) for axes in ([], [2], [3], [2, 3])]
    return sum(float(np.isin(np.concatenate([windows(x, 4) for x in way]), known).mean()) for way in mirrored)


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_no_window_of_a_test_photograph_occurs_in_a_training_patch(colour: str) -> None:
    data = built(f"photos[colour={colour}]")
    assert data.whole_test is not None
    assert data.whole_valid is not None
    assert found(data.train[:500], data.whole_test) == 0
    assert found(data.train[:500], data.whole_valid) == 0
    assert found(data.test[:100], data.whole_test) > 0.1  # the same search finds what is there


def test_whole_photographs_are_the_same_for_every_seed_and_noise_while_patches_are_not() -> None:
    one, other = built("photos"), built("photos[sigma=0.1]", 1)
    for name, count in (("whole_valid", 2), ("whole_test", 4)):
        assert torch.equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).shape == (count, 1, 256, 256)
    assert not torch.equal(one.test, built("photos", 1).test)
    assert one.local_scale is None
    assert other.local_scale == 0.1


def test_a_patch_is_a_piece_of_a_photograph_in_its_colours() -> None:
    from skimage.color import rgb2gray
    from skimage.data import astronaut, camera

    grey, rgb = built("photos"), built("photos[colour=rgb]")
    assert grey.whole_test is not None
    assert rgb.whole_test is not None
    middle = slice(128, 384)
    expected = torch.from_numpy(camera()[middle, middle]).float()[None] / 255 * 2 - 1
    torch.testing.assert_close(grey.whole_test[1], expected)
    expected = torch.from_numpy(rgb2gray(astronaut())[middle, middle]).float()[None] * 2 - 1
    torch.testing.assert_close(grey.whole_test[0], expected, atol=1e-5, rtol=0)
    expected = torch.from_numpy(astronaut()[middle, middle]).permute(2, 0, 1).float() / 255 * 2 - 1
    torch.testing.assert_close(rgb.whole_test[0], expected)


def test_a_photograph_that_is_not_shipped_is_missed_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import skimage.data

    monkeypatch.setattr(skimage.data, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(UsageError, match=r"photos needs astronaut\.png of scikit-image"):
        builders.dataset("photos", Rng(0, "data"))


@pytest.mark.parametrize("name", DATASETS)
def test_images_say_the_range_in_which_clean_ones_lie(name: str) -> None:
    data = built(name)
    if data.train.ndim != 4:
        pytest.skip("no images")
    assert data.value_range is not None
    low, high = data.value_range
    assert low <= float(data.train.min()) < low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) < float(data.train.max()) <= high
    assert data.content is not None


@pytest.mark.parametrize("name", EMBEDDED)
def test_no_embedded_image_lies_in_two_parts(name: str) -> None:
    pixels = embedded(name)
    parts = [{image.tobytes() for image in pixels[f"{part}_images"]} for part in ("train", "valid", "test")]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_set_gives_back_its_pixels_after_dequantisation(name: str) -> None:
    x = built(name).test[:50]
    expected = torch.from_numpy(embedded(name)["test_images"][:50]).reshape(50, *x.shape[2:], -1).permute(0, 3, 1, 2)
    error = (x.double() + 1).mul(128).floor() - expected
    assert set(error.unique().tolist()) <= {0, 1}
    assert float(error.mean()) < 1e-4  # pixel + u rounds up to the next pixel where u is within 2^-17 of 1


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_committed_script_makes_the_embedded_file_again(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("fontTools")
    script = runpy.run_path(str(paths.ROOT / "scripts" / f"make_{name}.py"))
    if not script["DEBIAN"].exists():
        pytest.skip(f"Debian's package is not installed: there is no {script['DEBIAN']}")
    released = json.loads(image_data.DIGESTS.read_text(encoding="utf-8"))[name]
    monkeypatch.setattr(image_data, "DATASET_FILES", tmp_path)
    monkeypatch.setattr(image_data, "DIGESTS", tmp_path / "digests.json")
    script["main"](script["DEBIAN"])
    assert json.loads(image_data.DIGESTS.read_text(encoding="utf-8")) == {name: released}


def test_every_part_of_fashion28_has_as_many_images_of_each_class() -> None:
    pixels = embedded("fashion28")
    for part, count in (("train", 800), ("valid", 100), ("test", 100)):
        assert np.bincount(pixels[f"{part}_labels"]).tolist() == [count] * 10
        assert len(pixels[f"{part}_images"]) == 10 * count


def test_one_emoji_in_all_tones_and_genders_lies_in_one_part() -> None:
    variants = {*(f"{tone:X}" for tone in range(0x1F3FB, 0x1F400)), "200D", "FE0F", "2640", "2642"}
    people = {"1F468": "person", "1F469": "person", "1F9D1": "person"}
    parts: dict[str, set[str]] = {}
    for part in ("train", "valid", "test"):
        for name in embedded("emoji32")[f"{part}_names"].tolist():
            shown = sorted({people.get(point, point) for point in name.split() if point not in variants})
            parts.setdefault(" ".join(shown), set()).add(part)
    assert {len(found_in) for shown, found_in in parts.items() if shown} == {1}
    assert len(parts) > 1500


def test_no_held_out_emoji_is_nearly_one_in_another_part() -> None:
    pixels = {part: embedded("emoji32")[f"{part}_images"] for part in ("train", "valid", "test")}
    train, valid, test = (torch.from_numpy(x).flatten(1).double() / 255 for x in pixels.values())
    for a, b in ((train, valid), (train, test), (valid, test)):
        assert float(torch.cdist(a, b).min()) / math.sqrt(a.shape[1]) >= 0.08 - 1e-6


def test_an_embedded_file_that_was_changed_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(image_data, "DATASET_FILES", tmp_path)
    monkeypatch.setattr(image_data, "DIGESTS", Path(shutil.copy(image_data.DIGESTS, tmp_path)))
    arrays = {"train_images": np.zeros((2, 28, 28), np.uint8)}
    np.savez_compressed(tmp_path / "fashion28.npz", **arrays)
    with pytest.raises(UsageError, match="does not have the sha256 of"):
        embedded("fashion28")
    image_data.embed("fashion28", arrays)
    assert np.array_equal(embedded("fashion28")["train_images"], arrays["train_images"])
    (tmp_path / "fashion28.npz").write_bytes(b"torn")
    with pytest.raises(UsageError, match="is not readable"):
        embedded("fashion28")


def test_the_content_changes_with_one_pixel_and_not_with_the_seed() -> None:
    pixels = np.zeros((3, 1, 2, 2), np.uint8)
    other = pixels.copy()
    other[2, 0, 1, 1] = 1
    seen = [
        image_data.image_data("x", Rng(seed), p, p, p).content for seed, p in ((0, pixels), (1, pixels), (0, other))
    ]
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.linspace(0, 1, 128).reshape(2, 1, 8, 8), r"must be whole numbers from 0 to 255; got float64"),
        (np.full((2, 1, 8, 8), 511, np.uint16), r"must lie from 0 to 255; these from 511 to 511"),
        (np.full((2, 1, 8, 8), -1, np.int64), r"must lie from 0 to 255; these from -1 to -1"),
        (np.zeros((2, 8, 8), np.uint8), r"must be \(n, C, H, W\)"),
    ],
)
def test_pixels_of_another_kind_are_refused_in_words(pixels: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        image_data.image_data("mine", Rng(0, "data"), pixels, pixels, pixels)
