"""Image metrics: uint8 images, each metric with an oracle that must pass and a fake that must fail."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.api import Rng
from bench.evaluation import feature_extractor, image_fidelity
from bench.plugins import builders, registry
from tests.helpers.image_sets import digits, measure, rulers_of_digits, value_of

pytestmark = pytest.mark.usefixtures("own_cache")

IMAGE_METRICS = [name for name in registry.names("metrics") if "extractor" in builders.metric(name).info.needs]


def test_samples_and_data_become_the_same_kind_of_uint8_images() -> None:
    x = torch.tensor([-7.0, -1.0, -0.999, 0.0, 0.999, 1.0, 7.0])
    assert feature_extractor.quantised(x, (-1.0, 1.0)).tolist() == [0, 0, 0, 128, 255, 255, 255]
    assert feature_extractor.quantised(torch.tensor([0.0, 0.5, 2.0]), (0.0, 1.0)).tolist() == [0, 128, 255]
    data = digits()
    beyond = data.test.clone()
    beyond[beyond >= 1] += 5  # a sample beyond the range is the image that is clamped to it
    assert measure("fid", beyond).value == measure("fid", data.test).value


def test_images_that_are_not_uint8_are_refused_wherever_they_come_in() -> None:
    images = torch.zeros(10, 1, 8, 8)
    with pytest.raises(ValueError, match="must be uint8"):
        image_fidelity.ImageSet(images)
    with pytest.raises(ValueError, match="must be uint8"):
        image_fidelity.compare(images, images.byte(), image_fidelity.shipped(feature_extractor.names()[0]))
    network = feature_extractor.Classifier((1, 8, 8), 10)
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
        sides = [image_fidelity.image_features(x, digits())[0].double().numpy() for x in (samples, digits().train)]
        (mean, cov), (mean_t, cov_t) = ((f.mean(0), np.cov(f, rowvar=False)) for f in sides)
        values, vectors = np.linalg.eigh(cov)
        root = vectors * np.sqrt(values.clip(0)) @ vectors.T
        overlap = np.sqrt(np.linalg.eigvalsh(root @ cov_t @ root).clip(0)).sum()
        direct = np.square(mean - mean_t).sum() + np.trace(cov + cov_t) - 2 * overlap
        assert value_of("fid", samples) == pytest.approx(direct, rel=1e-3)


def test_kid_is_that_of_the_same_features_by_the_formula() -> None:
    samples = rulers_of_digits()["pixel Gaussian"]
    f, g = (image_fidelity.image_features(x, digits())[0].double() for x in (samples, digits().train))
    own, other, cross = ((1 + a @ b.T / 64) ** 3 for a, b in ((f, f), (g, g), (f, g)))
    off = [float(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (own, other)]
    found = measure("kid", samples)
    assert found.value is not None
    assert found.stderr is not None
    assert abs(found.value - (sum(off) - 2 * float(cross.mean()))) < 4 * found.stderr / math.sqrt(
        image_fidelity.KID_SUBSETS
    )


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
        image_fidelity._compared.clear()
        on_gpu = measure(name, digits().valid.to(device), digits().to(device)).value
        feature_extractor.load.cache_clear()
        assert on_gpu == pytest.approx(on_cpu, rel=2e-3, abs=2e-3)
