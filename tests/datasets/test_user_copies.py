"""Data sets that a user brings, through tiny copies in the formats that people have."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.api import Data, Rng, UsageError
from bench.cli.main import main
from bench.common import run_spec
from bench.contract import check
from bench.data import data_dir
from bench.data.data_dir import ENVIRONMENT, AbsentDataError
from bench.plugins import builders, registry
from bench.suites import expand, schema
from bench.training.trainer import Trainer
from tests.helpers.dataset_params import ABSENT
from tests.helpers.tiny_archives import BATCHES, Bytes, archived, batch, idx, jpeg, md5

SIZES = {"n_train": 6, "n_valid": 3, "n_test": 4}
IDX = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
SUITE = """
name = "mine"
objectives = ["denoising_score_matching", "maximum_likelihood"]
datasets = ["{name}", "two_moons"]
seeds = "0"
[data]
n_train = 6
n_valid = 3
n_test = 4
"""
RUN = """
[network]
name = "convolutional"
width = 2
[budget]
steps = 2
batch = 4
[evaluation]
checkpoints = 1
samples = 4
sampler_steps = 2
"""


def images(n: int, *shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def idx_copy(subfolder: str, *, packed: bool) -> Callable[[Path, str, int], dict[str, object]]:
    """Writes idx files; returns the constants of the data set under which they pass for the real ones."""

    def write(folder: Path, name: str, seed: int) -> dict[str, object]:
        known = {}
        for file, n in zip(IDX, (9, 4), strict=True):
            raw = idx(images(n, 28, 28, seed=seed))
            known[file] = hashlib.sha256(raw).hexdigest()
            path = folder / subfolder.format(name=name) / f"{file}{'.gz' if packed else ''}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(raw) if packed else raw)
        return {"SHA256": known}

    return write


def cifar_copy(*, packed: bool) -> Callable[[Path, str, int], dict[str, object]]:
    def write(folder: Path, name: str, seed: int) -> dict[str, object]:
        contents = {b: batch(images(4, 3, 32, 32, seed=seed + k)) for k, b in enumerate(BATCHES)}
        known = {b: md5(raw) for b, raw in contents.items()}
        (folder / name).mkdir(parents=True)
        archive = archived(
            folder / name / "cifar-10-python.tar.gz", {f"cifar-10-batches-py/{b}": raw for b, raw in contents.items()}
        )
        constants = {"ARCHIVE_MD5": md5(archive.read_bytes()), "TEST": {"test_batch": known.pop("test_batch")}}
        if not packed:
            archive.unlink()
            (folder / "cifar-10-batches-py").mkdir()
            for b, raw in contents.items():
                (folder / "cifar-10-batches-py" / b).write_bytes(raw)
        return {**constants, "TRAIN": known}

    return write


def celeba_copy(*, packed: bool) -> Callable[[Path, str, int], dict[str, object]]:
    def write(folder: Path, name: str, seed: int) -> dict[str, object]:
        numbers = [first + k for first, n in ((1, 6), (162_771, 3), (182_638, 4)) for k in range(n)]
        faces = {f"{k:06d}.jpg": jpeg(images(1, 218, 178, 3, seed=seed + k)[0]) for k in numbers}
        if packed:
            with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
                for file, raw in faces.items():
                    archive.writestr(f"img_align_celeba/{file}", raw)
        else:
            (folder / name / "img_align_celeba").mkdir(parents=True)
            for file, raw in faces.items():
                (folder / name / "img_align_celeba" / file).write_bytes(raw)
        return {}

    return write


COPIES = {
    "mnist": [idx_copy("{name}", packed=True), idx_copy("MNIST/raw", packed=False)],
    "fashion_mnist": [idx_copy("{name}", packed=True), idx_copy("FashionMNIST/raw", packed=False)],
    "cifar10": [cifar_copy(packed=True), cifar_copy(packed=False)],
    "celeba": [celeba_copy(packed=True), celeba_copy(packed=False)],
}


@pytest.fixture(params=ABSENT)
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in COPIES, f"write a tiny copy of {request.param} here"
    return str(request.param)


@pytest.fixture
def copy(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a folder with a tiny copy the data directory."""

    def make(form: int = 0, seed: int = 0, where: str = "data") -> Path:
        folder = tmp_path / where
        folder.mkdir()
        module = sys.modules[registry.find("datasets", name).target.__module__]
        for constant, value in COPIES[name][form](folder, name, seed).items():
            monkeypatch.setattr(module, constant, value)
        monkeypatch.setenv(data_dir.ENVIRONMENT, str(folder))
        return folder

    return make


def built(name: str, seed: int | list[int] = 0) -> Data:
    return builders.dataset(name, Rng(seed, "data"), **SIZES)


def planned(name: str, folder: Path) -> dict[tuple[str, str], run_spec.RunSpec]:
    path = folder / "mine.toml"
    path.write_text(SUITE.format(name=name), encoding="utf-8")
    specs = expand.plan_runs(schema.read_suite(str(path)), expand.Selection(), "cpu")
    return {(s.dataset.name, s.objective.name): s for s in specs}


def test_every_form_of_a_copy_gives_the_same_images(name: str, copy: Callable[..., Path]) -> None:
    found = []
    for form in range(len(COPIES[name])):
        copy(form, where=f"form{form}")
        found.append(built(name))
    assert all(torch.equal(found[0].train, other.train) for other in found)
    assert {data.content for data in found} == {found[0].content}
    assert len(found) > 1


def test_a_copy_is_split_scaled_and_the_same_alone_and_in_a_stack(name: str, copy: Callable[..., Path]) -> None:
    copy()
    data, stack = built(name, 3), built(name, [0, 3])
    assert data.value_range == (-1, 1)
    for part, n in (("train", 6), ("valid", 3), ("test", 4)):
        x = getattr(data, part)
        assert len(x) == n
        assert x.ndim == 4
        assert -1 <= float(x.min()) < -0.3
        assert 0.3 < float(x.max()) <= 1
        assert torch.equal(getattr(stack, part)[1], x)
        assert not torch.equal(getattr(stack, part)[0], x)


def test_celeba_comes_in_two_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    celeba_copy(packed=True)(tmp_path, "celeba", 0)
    monkeypatch.setenv(data_dir.ENVIRONMENT, str(tmp_path))
    small, large = (builders.dataset(f"celeba[size={side}]", Rng(0, "data"), **SIZES) for side in (32, 64))
    assert small.train.shape == (6, 3, 32, 32)
    assert large.train.shape == (6, 3, 64, 64)
    assert small.content != large.content


def test_an_absent_set_stays_in_the_plan_with_the_way_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(data_dir.ENVIRONMENT, str(tmp_path / "nowhere"))
    with pytest.raises(AbsentDataError):
        built(name)
    specs = planned(name, tmp_path)
    reason = f"{name} not found in {tmp_path / 'nowhere'}; run python -m bench data fetch {name} or give --data-dir"
    assert specs[name, "denoising_score_matching"].skip == reason
    assert specs[name, "maximum_likelihood"].skip == reason
    assert specs["two_moons", "denoising_score_matching"].skip == ""


def test_a_cell_is_its_images_and_not_the_folder_they_lie_in(
    name: str, copy: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy()
    here = planned(name, tmp_path)[name, "denoising_score_matching"]
    assert here.skip == ""
    shutil.move(folder, tmp_path / "moved")
    monkeypatch.setenv(data_dir.ENVIRONMENT, str(tmp_path / "moved"))
    assert planned(name, tmp_path)[name, "denoising_score_matching"].cell_id == here.cell_id
    copy(seed=1, where="others")
    assert planned(name, tmp_path)[name, "denoising_score_matching"].cell_id != here.cell_id


def test_a_run_refuses_images_that_are_not_those_it_was_planned_with(
    name: str, copy: Callable[..., Path], tmp_path: Path
) -> None:
    copy()
    run = planned(name, tmp_path)[name, "denoising_score_matching"]
    Trainer(run, 0, torch.device("cpu"))
    copy(seed=1, where="others")
    with pytest.raises(UsageError, match="a run must see the data it was planned with"):
        Trainer(run, 0, torch.device("cpu"))


def test_run_trains_on_what_is_in_the_data_directory_and_skips_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(data_dir.ENVIRONMENT, str(tmp_path / "nowhere"))
    celeba_copy(packed=True)(tmp_path, "celeba", 0)
    suite = tmp_path / "mine.toml"
    text = SUITE.format(name="celeba").replace("two_moons", "mnist").replace(', "maximum_likelihood"', "")
    suite.write_text(text + RUN, encoding="utf-8")
    out = tmp_path / "out"
    assert main(["run", "--suite", str(suite), "--data-dir", str(tmp_path), "--out", str(out), "--jobs", "1"]) == 0
    assert "Clipping input data" not in caplog.text  # colours of the pictures lie in matplotlib's range
    rows = {p.parts[-4]: json.loads(p.read_text(encoding="utf-8")) for p in out.rglob("row.json")}
    assert {name: row["status"] for name, row in rows.items()} == {"celeba": "ok", "mnist": "skipped"}
    assert rows["mnist"]["reason"].startswith(f"mnist not found in {tmp_path}; run python -m bench data fetch mnist")


def test_a_torn_file_is_bad_input(name: str, copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy()
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UsageError, match="is not the file that it should be"):
        built(name)
    assert main(["plan", "--suite", "smoke", "--dataset", f"{name}[n_train=6,n_valid=3,n_test=4]"]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1
    assert printed[0].startswith(f"bench: {path.parent}")


def test_check_says_that_a_set_is_absent_and_holds_one_that_is_here_to_the_contract(
    name: str, copy: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(data_dir.ENVIRONMENT, str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=f"{name} not found in"):
        check.check_plugin(name)
    copy()
    findings = check.check_plugin(f"{name}[n_train=6,n_valid=3,n_test=4]")
    assert findings
    assert all(finding.passed for finding in findings)


@pytest.mark.parametrize(("name", "other"), [("mnist", "fashion_mnist"), ("fashion_mnist", "mnist")])
def test_one_set_does_not_pass_for_another_in_the_same_format(
    name: str, other: str, copy: Callable[..., Path], tmp_path: Path
) -> None:
    folder = copy(seed=0)
    shutil.copytree(folder / name, folder / other)
    built(name)
    with pytest.raises(UsageError, match="its sha256 must be"):
        built(other)


def test_the_data_directory_is_the_flags_else_the_variables_else_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(data_dir.ENVIRONMENT, raising=False)
    assert data_dir.data_dir() == tmp_path / "cache" / "ebm-bench"
    monkeypatch.setenv(data_dir.ENVIRONMENT, str(tmp_path / "variable"))
    assert data_dir.data_dir() == tmp_path / "variable"
    assert main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"data directory: {tmp_path}\n")
    assert all(
        f"missing: {registry.find('datasets', name).info.manual_download or 'python -m'}" in printed for name in ABSENT
    )
    assert main(["plan", "--suite", "smoke", "--data-dir", str(tmp_path / "nowhere")]) == 2
    assert "--data-dir must be a folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["set12", "bsd68"])
def test_photographs_of_papers_on_denoising_are_read_from_a_user_s_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    ref = f"photos[n_train=8,n_valid=8,n_test=8,whole=32,held_out={name}]"
    with pytest.raises(AbsentDataError, match="put its images into a folder"):
        builders.dataset(ref, Rng(0, "data"))
    folder, count = tmp_path / {"set12": "Set12", "bsd68": "BSD68"}[name], {"set12": 12, "bsd68": 68}[name]
    folder.mkdir()
    generator = np.random.default_rng(0)
    shapes = [(40, 48), (48, 40)] if name == "bsd68" else [(32, 32), (64, 64)]
    images = [generator.integers(0, 256, shapes[k % 2], dtype=np.uint8) for k in range(count)]
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{k:03d}.png")
    data = builders.dataset(ref, Rng(0, "data"))
    assert data.whole_test is not None
    pixels = (data.whole_test + 1) * 255 / 2
    if name == "bsd68":
        assert pixels.shape == (68, 1, 40, 48)
        assert np.allclose(pixels[1, 0].numpy(), np.rot90(images[1]), atol=1e-3)
    else:
        assert pixels.shape == (12, 1, 32, 32)
        assert np.allclose(pixels[1, 0].numpy(), images[1][16:48, 16:48], atol=1e-3)
    # what is trained on, and what rulers are tuned on, stays
    own = builders.dataset(ref.partition(",held_out")[0] + "]", Rng(0, "data"))
    assert torch.equal(own.train, data.train)
    assert torch.equal(own.whole_valid, data.whole_valid)  # type: ignore[arg-type]
    assert own.content != data.content
    (folder / "000.png").unlink()
    with pytest.raises(UsageError, match=f"is of {count} images"):
        builders.dataset(ref, Rng(0, "data"))
