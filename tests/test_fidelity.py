"""Image metrics: shipped weights, uint8 images, torch-fidelity beside a CPU torch, caches, rulers, Inception."""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from shelf import Shelf, estimate
from torch import Tensor
from workers import ToySpec, about

from bench import artefacts, check, cli, compare, extractor, fidelity, load, report, rulers, saved, table, terminal
from bench.api import Data, Estimate, Rng, UsageError
from bench.store import Planned
from scripts import train_extractor

ROOT = Path(__file__).resolve().parent.parent
IMAGE_METRICS = [name for name in load.names("metrics") if "extractor" in load.metric(name).info.needs]
SHIPPED = extractor.names()
REF = "digits[sigma=0.15]"


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    yield
    fidelity._compared.clear()
    fidelity._seen.clear()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "store")


@cache
def digits() -> Data:
    return load.dataset(REF, Rng(0, "data"))


@cache
def rulers_of_digits() -> dict[str, Tensor]:
    return rulers.ruler_sets(digits(), 500, Rng(0, "eval"))


def measure(name: str, samples: Tensor, data: Data | None = None) -> Estimate:
    def energy(x: Tensor) -> Tensor:
        raise AssertionError("an image metric looks at samples alone")

    return load.metric(name)(energy, samples, data or digits(), Rng(0, "eval"))


def value_of(name: str, samples: Tensor) -> float:
    value = measure(name, samples).value
    assert value is not None
    return value


# shipped extractors


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_extractor_is_as_accurate_as_it_says_on_images_that_it_was_not_trained_on(name: str) -> None:
    found = extractor.load(name)
    data = load.dataset(found.about["dataset"], Rng(0, "data"))
    assert data.extractor == name
    assert data.value_range is not None
    assert data.test_classes is not None
    logits = found(extractor.quantised(data.test, data.value_range))[1]
    accuracy = float((logits.argmax(1) == data.test_classes).float().mean())
    assert accuracy == pytest.approx(found.about["accuracy"], abs=2.5 / len(data.test))  # rounding of another machine
    assert accuracy > 3 / found.about["classes"]
    assert found.about["n_test"] == len(data.test)


@pytest.mark.parametrize(("side", "passes"), [(8, True), (9, False)])
def test_an_extractor_that_does_not_take_the_images_is_found(side: int, passes: bool, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"""
from bench.api import Data, dataset
@dataset(source="nobody")
def mine(rng) -> Data:
    x = rng.uniform((*rng.batch_shape(30), 1, {side}, {side}))
    parts = [x[..., k : k + 10, :, :, :] for k in (0, 10, 20)]
    return Data("mine", *parts, value_range=(0.0, 1.0), extractor="{digits().extractor}")
""")
    findings = {finding.rule: finding for finding in check.check(str(tmp_path / "mine.py"))}
    assert findings["extractor"].passed == passes
    assert f"(1, {side}, {side})" in findings["extractor"].detail


def test_the_shipped_weights_take_less_than_2_mb() -> None:
    assert SHIPPED
    assert sum(path.stat().st_size for path in extractor.FOLDER.iterdir()) < 2e6


def test_weights_that_were_changed_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = SHIPPED[0]
    for suffix in (".npz", ".json"):
        (tmp_path / f"{name}{suffix}").write_bytes((extractor.FOLDER / f"{name}{suffix}").read_bytes())
    monkeypatch.setattr(extractor, "FOLDER", tmp_path)
    extractor.load.cache_clear()
    assert extractor.load(name).name == name
    other = extractor.load(name).network
    with torch.no_grad():
        other.head.bias[0] += 1e-3
    about = json.loads((tmp_path / f"{name}.json").read_text())
    renamed = extractor.save(other, "other", about, tmp_path)
    (tmp_path / f"{name}.npz").write_bytes((tmp_path / f"{renamed}.npz").read_bytes())
    extractor.load.cache_clear()
    with pytest.raises(UsageError, match="must have the sha256"):
        extractor.load(name)
    # nor does a description that was changed with them help: the name is the digest's
    (tmp_path / f"{name}.json").write_text((tmp_path / f"{renamed}.json").read_text())
    with pytest.raises(UsageError, match="must have the sha256"):
        extractor.load(name)
    extractor.load.cache_clear()
    with pytest.raises(UsageError, match="unknown extractor 'nothing'"):
        extractor.load("nothing")
    extractor.load.cache_clear()


def test_the_same_training_gives_the_same_weights_and_learns(tmp_path: Path) -> None:
    data = digits()
    assert data.value_range is not None
    assert data.train_classes is not None
    assert data.test_classes is not None
    images, held_out = (extractor.quantised(x, data.value_range) for x in (data.train, data.test))
    networks = [train_extractor.train(images, data.train_classes, 3) for _ in range(2)]
    names = [extractor.save(network, "again", {}, tmp_path) for network in networks]
    assert names[0] == names[1]
    with torch.no_grad():
        assert float((networks[0](held_out)[1].argmax(1) == data.test_classes).float().mean()) > 0.6


# images


def test_samples_and_data_become_the_same_kind_of_uint8_images() -> None:
    x = torch.tensor([-7.0, -1.0, -0.999, 0.0, 0.999, 1.0, 7.0])
    assert extractor.quantised(x, (-1.0, 1.0)).tolist() == [0, 0, 0, 128, 255, 255, 255]
    assert extractor.quantised(torch.tensor([0.0, 0.5, 2.0]), (0.0, 1.0)).tolist() == [0, 128, 255]
    data = digits()
    beyond = data.test.clone()
    beyond[beyond >= 1] += 5  # a sample beyond the range is the image that is clamped to it
    assert measure("fid", beyond).value == measure("fid", data.test).value


def test_images_that_are_not_uint8_are_refused_wherever_they_come_in() -> None:
    images = torch.zeros(10, 1, 8, 8)
    with pytest.raises(ValueError, match="must be uint8"):
        fidelity.ImageSet(images)
    with pytest.raises(ValueError, match="must be uint8"):
        fidelity.compare(images, images.byte(), fidelity.shipped(extractor.names()[0]))
    network = extractor.Classifier((1, 8, 8), 10)
    with pytest.raises(ValueError, match="takes uint8 images"):
        network(images)
    with pytest.raises(ValueError, match="takes uint8 images"):
        network(images.byte().expand(-1, 3, -1, -1))


@pytest.mark.parametrize("name", IMAGE_METRICS)
def test_what_cannot_be_looked_at_has_a_reason_and_no_number(name: str) -> None:
    bad = digits().test.clone()
    bad[3, 0, 2, 2] = float("nan")
    assert (measure(name, bad).value, measure(name, bad).reason) == (None, "some of the samples are not finite")
    assert measure(name, digits().test[:7]).reason == "needs at least 8 samples; there are 7"


# the metrics, each with an oracle that must pass and a fake that must fail


def test_fid_is_that_of_the_same_features_by_the_formula() -> None:
    for samples in (digits().test, rulers_of_digits()["pixel Gaussian"]):
        sides = [fidelity.image_features(x, digits())[0].double().numpy() for x in (samples, digits().train)]
        (mean, cov), (mean_t, cov_t) = ((f.mean(0), np.cov(f, rowvar=False)) for f in sides)
        values, vectors = np.linalg.eigh(cov)
        root = vectors * np.sqrt(values.clip(0)) @ vectors.T
        overlap = np.sqrt(np.linalg.eigvalsh(root @ cov_t @ root).clip(0)).sum()
        direct = np.square(mean - mean_t).sum() + np.trace(cov + cov_t) - 2 * overlap
        assert value_of("fid", samples) == pytest.approx(direct, rel=1e-3)


def test_kid_is_that_of_the_same_features_by_the_formula() -> None:
    samples = rulers_of_digits()["pixel Gaussian"]
    f, g = (fidelity.image_features(x, digits())[0].double() for x in (samples, digits().train))
    own, other, cross = ((1 + a @ b.T / 64) ** 3 for a, b in ((f, f), (g, g), (f, g)))
    off = [float(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (own, other)]
    found = measure("kid", samples)
    assert found.value is not None
    assert found.stderr is not None
    assert abs(found.value - (sum(off) - 2 * float(cross.mean()))) < 4 * found.stderr / math.sqrt(fidelity.KID_SUBSETS)


def test_the_standard_error_of_kid_covers_the_spread_over_samples_and_at_most_doubles_it() -> None:
    data, rng = digits(), Rng(0, "model")
    sets = [data.train[rng.integers(len(data.train), (200,))] for _ in range(12)]
    sets = [x + 0.3 * rng.normal_like(x) for x in sets]
    found = [measure("kid", x) for x in sets]
    spread = float(np.std([e.value for e in found if e.value is not None], ddof=1))
    claimed = float(np.mean([e.stderr for e in found if e.stderr is not None]))
    assert 0.6 * spread < claimed < 3.2 * spread  # 12 values know their spread to a fifth


def test_held_out_images_are_good_and_worse_sets_are_worse_in_their_order() -> None:
    good = digits().valid
    order = ["test + 0.3 z", "pixel Gaussian", "independent pixels", "uniform noise"]
    for name in ("fid", "kid"):
        values = [value_of(name, good), *(value_of(name, rulers_of_digits()[key]) for key in order)]
        assert values == sorted(values), name
    assert value_of("fid", good) < 0.1 * value_of("fid", rulers_of_digits()["pixel Gaussian"])
    kid = measure("kid", good)
    assert kid.value is not None
    assert kid.stderr is not None
    assert abs(kid.value) < 3 * kid.stderr


def test_precision_sees_bad_samples_and_recall_missing_ones() -> None:
    data = digits()
    assert data.train_classes is not None
    three_classes = data.train[data.train_classes < 3]
    three_classes = three_classes + 0.02 * Rng(0).normal_like(three_classes)
    noise = rulers_of_digits()["uniform noise"]
    assert value_of("precision", data.valid) > 0.75
    assert value_of("precision", three_classes) > 0.9
    assert value_of("precision", noise) < 0.05
    assert value_of("recall", data.valid) > 0.75
    assert value_of("recall", three_classes) < 0.45
    assert measure("precision", data.test).value == measure("precision", data.test).detail["ceiling"]


def test_class_entropy_tells_one_class_from_all() -> None:
    data = digits()
    assert data.train_classes is not None
    even, odd = data.valid, data.train[data.train_classes < 2]
    one = data.train[data.train_classes == 1]
    assert value_of("class_entropy", even) == pytest.approx(math.log(10), abs=0.02)
    assert value_of("class_entropy", odd) == pytest.approx(math.log(2), abs=0.03)
    assert value_of("class_entropy", one) < 0.1
    counts = measure("class_entropy", one).detail["classes"]
    assert sum(counts) == len(one)
    assert max(counts) == counts[1]


def test_where_classes_are_unbalanced_samples_more_even_than_the_data_are_no_better() -> None:
    whole, rng = digits(), Rng(0, "model")
    assert whole.train_classes is not None
    classes = whole.train_classes
    weights = torch.tensor([16.0, 8, 8, 4, 2, 2, 1, 1, 1, 1])
    chances = weights[classes] / torch.bincount(classes)[classes]
    data = replace(whole, train=whole.train[rng.choice(chances, (2000,))])
    alike = whole.train[rng.choice(chances, (1000,))]
    found, flat, one = (measure("class_entropy", x, data) for x in (alike, whole.valid, whole.train[classes == 0]))
    assert found.value is not None
    assert flat.value is not None
    assert one.value is not None
    assert found.value == pytest.approx(found.detail["ceiling"] - 9 / 2000, abs=0.01)
    assert flat.detail["entropy"] > found.detail["entropy"] + 0.2  # what made it look better
    share = weights / weights.sum()
    assert flat.value == pytest.approx(
        found.detail["ceiling"] + float((share.log() / 10).sum()) + math.log(10), abs=0.1
    )
    assert one.value == pytest.approx(found.detail["ceiling"] + float(share[0].log()), abs=0.1)


def test_the_standard_error_of_the_class_entropy_is_its_spread() -> None:
    data, rng = digits(), Rng(0, "model")
    weights = torch.tensor([8.0, 4, 4, 2, 2, 2, 1, 1, 1, 1])
    assert data.train_classes is not None
    chances = weights[data.train_classes] / torch.bincount(data.train_classes)[data.train_classes]
    found = [measure("class_entropy", data.train[rng.choice(chances, (150,))]) for _ in range(40)]
    spread = float(np.std([e.value for e in found if e.value is not None], ddof=1))
    claimed = float(np.mean([e.stderr for e in found if e.stderr is not None]))
    assert claimed == pytest.approx(spread, rel=4.5 / math.sqrt(2 * 39))


def test_copies_of_training_images_are_not_certified_and_held_out_images_are() -> None:
    data = digits()
    copies = data.train[:300] + 0.02 * Rng(0).normal((300, 1, 8, 8))
    memorised, honest = measure("neighbour_distance", copies), measure("neighbour_distance", data.valid)
    assert memorised.value is not None
    assert memorised.value < 0.5 * memorised.detail["floor"]
    assert not memorised.certified
    assert "nearer to the training images" in memorised.reason
    assert honest.certified
    assert honest.value == pytest.approx(honest.detail["floor"], abs=0.25)
    assert value_of("neighbour_distance", rulers_of_digits()["uniform noise"]) > 2 * honest.detail["floor"]
    # FID does not see them
    assert value_of("fid", copies) < 0.2 * value_of("fid", rulers_of_digits()["pixel Gaussian"])


@pytest.mark.parametrize("name", IMAGE_METRICS)
def test_every_estimate_says_n_and_the_extractor(name: str) -> None:
    found = measure(name, rulers_of_digits()["pixel Gaussian"])
    assert found.n == 500
    assert found.detail["extractor"] == digits().extractor


def test_fewer_samples_than_features_are_not_certified() -> None:
    assert "needs more than 64 images" in measure("fid", digits().test[:64]).reason
    assert measure("fid", digits().test[:65]).certified


def test_fid_falls_with_n() -> None:
    pool = torch.cat([digits().test, digits().valid])
    values = [np.mean([value_of("fid", part) for part in pool.split(size)]) for size in (100, 200, 600)]
    assert values[0] > 1.3 * values[1] > 1.3 * values[2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_values() -> None:
    device = torch.device("cuda")
    for name in IMAGE_METRICS:
        on_cpu = value_of(name, digits().valid)
        fidelity._compared.clear()
        on_gpu = measure(name, digits().valid.to(device), digits().to(device)).value
        extractor.load.cache_clear()
        assert on_gpu == pytest.approx(on_cpu, rel=2e-3, abs=2e-3)


# caches


def test_a_cache_never_answers_for_other_images_weights_or_code(monkeypatch: pytest.MonkeyPatch) -> None:
    source = fidelity.shipped(str(digits().extractor))
    images, reference = (fidelity.images_of(x, digits()) for x in (digits().test, digits().train))
    folder = fidelity.cache_folder()
    assert folder is not None

    def files() -> set[str]:
        return {path.name for path in folder.iterdir()}

    first = fidelity.compare(images, reference, source)
    kept = files()
    fidelity._compared.clear()
    assert fidelity.compare(images, reference, source) == first  # from the disk
    assert files() == kept
    changed = reference.clone()
    changed[:, :, 3:5] = 255 - changed[:, :, 3:5]
    fidelity._compared.clear()
    assert fidelity.compare(images, changed, source).fid > 2 * first.fid
    one_pixel = reference.clone()
    one_pixel[5, 0, 0, 0] += 1
    assert len({fidelity.digest(x) for x in (reference, changed, one_pixel, reference.reshape(-1, 1, 4, 16))}) == 4
    before = files()
    fidelity.compare(images, one_pixel, source)
    assert len(files()) == len(before) + 2  # its own features and moments
    fidelity.compare(images, one_pixel, replace(source, name="digits-of-other-weights"))
    assert len(files()) == len(before) + 4
    monkeypatch.setattr(fidelity, "_code", lambda: "of-another-version")
    fidelity._compared.clear()
    fidelity.compare(images, one_pixel, source)
    assert len(files()) == len(before) + 6


def test_what_was_compared_before_is_not_given_for_other_images() -> None:
    source = fidelity.shipped(str(digits().extractor))
    reference = fidelity.images_of(digits().train, digits())
    images = fidelity.images_of(digits().test, digits()).clone()
    first = fidelity.compare(images, reference, source)
    images[:, :, ::2] = 0  # the same object with other pixels
    assert fidelity.compare(images, reference, source).fid > 2 * first.fid


def test_a_home_that_cannot_be_written_to_costs_time_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = measure("fid", digits().test).value
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    fidelity._compared.clear()
    assert fidelity.cache_folder() is None
    assert measure("fid", digits().test).value == expected


# torchvision


def ran(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_harness_does_not_import_torchvision() -> None:
    ran("import sys, bench.api, bench.cli; assert not {'torchvision', 'torch_fidelity'} & set(sys.modules)")


def test_a_torchvision_without_its_compiled_part_is_imported_and_still_refuses_to_use_it() -> None:
    # whichever torch this is, the compiled part is kept from loading
    code = """
import torch
def refuse(path):
    raise OSError("hidden")
torch.ops.load_library = refuse
from bench import fidelity
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
    (tmp_path / "torch_fidelity.py").write_text("")
    for content, expected in (("", "alone 0"), ("raise RuntimeError('broken for another reason')", "broken for")):
        (tmp_path / "torchvision.py").write_text(content)
        code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from bench import fidelity
try:
    fidelity.torch_fidelity()
    print("alone", len(fidelity._KEPT))
except RuntimeError as error:
    print(error)
"""
        assert expected in ran(code)


# rulers and saved samples


def test_the_rulers_lie_in_their_order_and_say_what_n_does() -> None:
    found = rulers.rulers(digits(), 300)
    largest = found[found["n"] == 300].set_index("set")["fid"]
    assert largest.index[0] == "test"
    assert largest.is_monotonic_increasing
    smaller = found[(found["set"] == "test") & (found["n"] == 250)]["fid"]
    assert len(smaller) == 1
    assert set(found["extractor"]) == {digits().extractor}
    gaussian = rulers.ruler_sets(digits(), 4_000, Rng(0))["pixel Gaussian"].flatten(1)
    expected = torch.cov(digits().train.flatten(1).T)
    error = torch.cov(gaussian.T) - expected
    assert float(error.norm() / expected.norm()) < 0.1


def test_the_command_writes_the_rulers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["rulers", "--dataset", REF, "--samples", "80", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(arguments) == cli.GOOD
    assert "uniform noise" in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "rulers.csv")
    assert {"n", "extractor", "fid", "kid", "precision", "recall", "class_entropy"} <= set(found.columns)
    assert (tmp_path / "rulers.md").exists()
    assert cli.main([*arguments[:-2], "--samples", "3"]) == cli.USAGE
    assert cli.main(["rulers", "--dataset", "two_moons"]) == cli.USAGE


def test_saved_samples_are_compared_with_their_own_training_images(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = about("digits", label=REF, ref="digits", params=load.find("datasets", REF).resolve())
    for name, samples in (("good", digits().valid), ("noise", rulers_of_digits()["uniform noise"])):
        spec = ToySpec(objective=about(name), dataset=dataset)
        attempt = shelf.store.begin(Planned.of(spec))
        both = {"own": samples[:90], "noise": "none", "data": samples[:90] / 0}
        artefacts.save(attempt.folder, lambda x: x.flatten(1).sum(1), both, digits(), Rng(0))
        attempt.finish({"status": "ok"})
        shelf.specs.append(spec)
    shelf.ran("without_images", 0, 1.0)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    assert cli.main(["fid", str(shelf.store.root), "--device", "cpu"]) == cli.GOOD
    assert "good" in capsys.readouterr().out
    found = pd.read_csv(shelf.store.root / "fid.csv").set_index("objective")
    assert found["fid"]["good"] == pytest.approx(value_of("fid", digits().valid[:90]))
    assert found["fid"]["noise"] > 20 * found["fid"]["good"]
    assert found["n"].tolist() == [90, 90]
    assert found["sampler"].tolist() == ["own", "own"]  # what is not finite leaves no images


def test_a_store_without_images_is_refused(shelf: Shelf) -> None:
    shelf.ran("good", 0, 1.0)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    with pytest.raises(UsageError, match="holds no run that left"):
        saved.saved(shelf.store.root, torch.device("cpu"))


# tables


def test_a_column_of_fid_never_stands_without_n_and_extractor(shelf: Shelf) -> None:
    value = estimate(12.0, n=500, detail={"extractor": "digits-0123abcd"}, unit="features²")
    shelf.ran("good", 0, None, metrics={"fid": {"last": value}, "kl": {"last": estimate(None, reason="n/a")}})
    frame = shelf.frame()
    assert frame[["fid", "fid_extractor", "fid_n"]].iloc[0].tolist() == [12.0, "digits-0123abcd", 500]
    assert table.summary(shelf.records())["fid_basis"].tolist() == ["n = 500, digits-0123abcd"]
    head = next(line for line in shelf.page().splitlines() if line.startswith("| objective"))
    heading = "line: fid, n = 500, digits-0123abcd"
    assert heading in head
    printed = io.StringIO()
    terminal.show(shelf.records(), Console(file=printed, width=200))
    assert heading in printed.getvalue()
    assert "`fid` (n = 500, digits-0123abcd) in features²" in shelf.page()
    page = report.render(shelf.store, shelf.records())
    assert "n = 500, digits-0123abcd" in re.sub("<[^>]*>", " ", page)


def test_values_of_other_features_or_another_n_are_not_set_against_each_other(tmp_path: Path) -> None:
    for name, n in (("a", 500), ("b", 1_000), ("c", 500)):
        shelf = Shelf(tmp_path / name)
        for seed in range(3):
            value = estimate(12.0 + seed, n=n, detail={"extractor": "digits-0123abcd"})
            shelf.ran("good", seed, None, metrics={"fid": {"last": value}})
        shelf.store.write_plan(map(Planned.of, shelf.specs))
    assert "no common seed with a value" in compare.markdown(tmp_path / "a", tmp_path / "b")
    alike = compare.markdown(tmp_path / "a", tmp_path / "c")
    assert "same numbers" in alike
    assert "fid (n = 500, digits-0123abcd)" in alike


# Inception


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under which activations keep their size: with torch's own, every image has the same features."""
    folder = tmp_path_factory.mktemp("inception")
    torch.save({}, folder / "empty.pth")
    with pytest.MonkeyPatch.context() as patch:
        network_class = fidelity.torch_fidelity().FeatureExtractorInceptionV3
        patch.setattr(network_class, "load_state_dict", lambda self, state: None)
        path = str(folder / "empty.pth")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = network_class("inception-v3-compat", ["2048"], feature_extractor_weights_path=path)
            for module in network.modules():
                if isinstance(module, torch.nn.Conv2d):
                    torch.nn.init.kaiming_normal_(module.weight)
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.momentum = 1.0  # the running moments become those of the one batch below
            network.train()(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    torch.save(network.state_dict(), folder / "random.pth")
    return folder / "random.pth"


def test_inception_tells_two_sets_apart_and_a_set_from_itself_not(random_inception: Path) -> None:
    source = fidelity.inception(random_inception)
    assert source.name.startswith("inception-v3-of-other-weights-")
    rng = Rng(0)
    noise = extractor.quantised(rng.uniform((8, 1, 32, 32)), (0.0, 1.0))
    ramps = (torch.arange(32)[None, None, :, None] * rng.integers(8, (8, 1, 1, 1))).expand(8, 1, 32, 32).byte()
    different, same = (fidelity.compare(noise, x, source) for x in (ramps, noise))
    assert different.fid > 1
    assert abs(same.fid) < 1e-3 * different.fid
    assert different.kid > 10 * abs(same.kid)
    assert "needs more than 8 images" in different.flaw


def test_inception_weights_are_looked_through_before_they_are_loaded(random_inception: Path, tmp_path: Path) -> None:
    state = torch.load(random_inception, weights_only=True)
    assert len(state) == fidelity.INCEPTION_ENTRIES

    def refused(content: object, match: str) -> None:
        path = tmp_path / "file.pth"
        torch.save(content, path)
        with pytest.raises(UsageError, match=match):
            fidelity.inception(path)

    few = dict(list(state.items())[:-1])
    refused(few, "holds 565")
    refused([1, 2], "other things than named tensors")
    refused({**few, "fc.bias": torch.zeros(1000)}, "do not fit")
    refused({**few, "other.bias": torch.zeros(1008)}, "do not fit")
    with pytest.raises(UsageError, match="cannot be read as tensors alone"):
        fidelity.inception(tmp_path / "nothing.pth")
    (tmp_path / "text.pth").write_text("no archive")
    with pytest.raises(UsageError, match="cannot be read as tensors alone"):
        fidelity.inception(tmp_path / "text.pth")


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    target = tmp_path / "it-ran"
    torch.save({"fc.bias": Malicious(target)}, tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Malicious(target), protocol=2))
    for name in ("evil.pth", "evil.pkl"):
        with pytest.raises(UsageError, match="cannot be read as tensors alone"):
            fidelity.inception(tmp_path / name)
    assert not target.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert target.exists()  # the trap was sharp
