"""What is kept of a comparison never answers for another; torchvision is imported as it is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.evaluation import image_fidelity
from tests.helpers.image_sets import digits, measure

pytestmark = pytest.mark.usefixtures("own_cache")

ROOT = Path(__file__).resolve().parents[2]


# caches


def test_a_cache_never_answers_for_other_images_weights_or_code(monkeypatch: pytest.MonkeyPatch) -> None:
    source = image_fidelity.shipped(str(digits().extractor))
    images, reference = (image_fidelity.images_of(x, digits()) for x in (digits().test, digits().train))
    folder = image_fidelity.cache_folder()
    assert folder is not None

    def files() -> set[str]:
        return {path.name for path in folder.iterdir()}

    first = image_fidelity.compare(images, reference, source)
    kept = files()
    image_fidelity._compared.clear()
    assert image_fidelity.compare(images, reference, source) == first  # from the disk
    assert files() == kept
    changed = reference.clone()
    changed[:, :, 3:5] = 255 - changed[:, :, 3:5]
    image_fidelity._compared.clear()
    assert image_fidelity.compare(images, changed, source).fid > 2 * first.fid
    one_pixel = reference.clone()
    one_pixel[5, 0, 0, 0] += 1
    assert (
        len({image_fidelity.images_digest(x) for x in (reference, changed, one_pixel, reference.reshape(-1, 1, 4, 16))})
        == 4
    )
    before = files()
    image_fidelity.compare(images, one_pixel, source)
    assert len(files()) == len(before) + 2  # its own features and moments
    image_fidelity.compare(images, one_pixel, replace(source, name="digits-of-other-weights"))
    assert len(files()) == len(before) + 4
    monkeypatch.setattr(image_fidelity, "_code", lambda: "of-another-version")
    image_fidelity._compared.clear()
    image_fidelity.compare(images, one_pixel, source)
    assert len(files()) == len(before) + 6


def test_what_was_compared_before_is_not_given_for_other_images() -> None:
    source = image_fidelity.shipped(str(digits().extractor))
    reference = image_fidelity.images_of(digits().train, digits())
    images = image_fidelity.images_of(digits().test, digits()).clone()
    first = image_fidelity.compare(images, reference, source)
    images[:, :, ::2] = 0  # the same object with other pixels
    assert image_fidelity.compare(images, reference, source).fid > 2 * first.fid


def test_a_home_that_cannot_be_written_to_costs_time_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = measure("fid", digits().test).value
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    image_fidelity._compared.clear()
    assert image_fidelity.cache_folder() is None
    assert measure("fid", digits().test).value == expected


# torchvision


def ran(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_harness_does_not_import_torchvision() -> None:
    ran("import sys, bench.api, bench.cli.main; assert not {'torchvision', 'torch_fidelity'} & set(sys.modules)")


def test_a_torchvision_without_its_compiled_part_is_imported_and_still_refuses_to_use_it() -> None:
    # whichever torch this is, the compiled part is kept from loading
    code = """
import torch
def refuse(path):
    raise OSError("hidden")
torch.ops.load_library = refuse
from bench.evaluation import image_fidelity as fidelity
assert fidelity.torch_fidelity().__name__ == "torch_fidelity"
import torchvision
assert not torchvision.extension._has_ops()
assert len(fidelity._KEPT) == 1
try:
    torchvision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)
except RuntimeError as error:
    print(str(error).splitlines()[0])
"""
    assert "Couldn't load custom C++ ops" in ran(code)


def test_a_torchvision_that_imports_is_left_alone_and_other_errors_pass(tmp_path: Path) -> None:
    (tmp_path / "torch_fidelity.py").write_text("", encoding="utf-8")
    for content, expected in (("", "alone 0"), ("raise RuntimeError('broken for another reason')", "broken for")):
        (tmp_path / "torchvision.py").write_text(content, encoding="utf-8")
        code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from bench.evaluation import image_fidelity as fidelity
try:
    fidelity.torch_fidelity()
    print("alone", len(fidelity._KEPT))
except RuntimeError as error:
    print(error)
"""
        assert expected in ran(code)
