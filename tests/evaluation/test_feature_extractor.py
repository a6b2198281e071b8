"""Shipped extractors: as accurate as they say, small, never changed, made again by their script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench.api import Rng, UsageError
from bench.contract import check
from bench.evaluation import feature_extractor
from bench.plugins import builders
from scripts import train_extractor
from tests.helpers.image_sets import digits

pytestmark = pytest.mark.usefixtures("own_cache")

SHIPPED = feature_extractor.names()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_extractor_is_as_accurate_as_it_says_on_images_that_it_was_not_trained_on(name: str) -> None:
    found = feature_extractor.load(name)
    data = builders.dataset(found.about["dataset"], Rng(0, "data"))
    assert data.extractor == name
    assert data.value_range is not None
    assert data.test_classes is not None
    logits = found(feature_extractor.quantised(data.test, data.value_range))[1]
    accuracy = float((logits.argmax(1) == data.test_classes).float().mean())
    assert accuracy == pytest.approx(found.about["accuracy"], abs=2.5 / len(data.test))  # rounding of another machine
    assert accuracy > 3 / found.about["classes"]
    assert found.about["n_test"] == len(data.test)


@pytest.mark.parametrize(("side", "passes"), [(8, True), (9, False)])
def test_an_extractor_that_does_not_take_the_images_is_found(side: int, passes: bool, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        f"""
from bench.api import Data, dataset
@dataset(source="nobody")
def mine(rng) -> Data:
    x = rng.uniform((*rng.batch_shape(30), 1, {side}, {side}))
    parts = [x[..., k : k + 10, :, :, :] for k in (0, 10, 20)]
    return Data("mine", *parts, value_range=(0.0, 1.0), extractor="{digits().extractor}")
""",
        encoding="utf-8",
    )
    findings = {finding.rule: finding for finding in check.check_plugin(str(tmp_path / "mine.py"))}
    assert findings["extractor"].passed == passes
    assert f"(1, {side}, {side})" in findings["extractor"].detail


def test_the_shipped_weights_take_less_than_2_mb() -> None:
    assert SHIPPED
    assert sum(path.stat().st_size for path in feature_extractor.EXTRACTORS.iterdir()) < 2e6


def test_weights_that_were_changed_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = SHIPPED[0]
    for suffix in (".npz", ".json"):
        (tmp_path / f"{name}{suffix}").write_bytes((feature_extractor.EXTRACTORS / f"{name}{suffix}").read_bytes())
    monkeypatch.setattr(feature_extractor, "EXTRACTORS", tmp_path)
    feature_extractor.load.cache_clear()
    assert feature_extractor.load(name).name == name
    other = feature_extractor.load(name).network
    with torch.no_grad():
        other.head.bias[0] += 1e-3
    about = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    renamed = feature_extractor.save(other, "other", about, tmp_path)
    (tmp_path / f"{name}.npz").write_bytes((tmp_path / f"{renamed}.npz").read_bytes())
    feature_extractor.load.cache_clear()
    with pytest.raises(UsageError, match="must have the sha256"):
        feature_extractor.load(name)
    # nor does a description that was changed with them help: the name is the digest's
    (tmp_path / f"{name}.json").write_text((tmp_path / f"{renamed}.json").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(UsageError, match="must have the sha256"):
        feature_extractor.load(name)
    feature_extractor.load.cache_clear()
    with pytest.raises(UsageError, match="unknown extractor 'nothing'"):
        feature_extractor.load("nothing")
    feature_extractor.load.cache_clear()


def test_the_same_training_gives_the_same_weights_and_learns(tmp_path: Path) -> None:
    data = digits()
    assert data.value_range is not None
    assert data.train_classes is not None
    assert data.test_classes is not None
    images, held_out = (feature_extractor.quantised(x, data.value_range) for x in (data.train, data.test))
    networks = [train_extractor.train(images, data.train_classes, 3) for _ in range(2)]
    names = [feature_extractor.save(network, "again", {}, tmp_path) for network in networks]
    assert names[0] == names[1]
    with torch.no_grad():
        assert float((networks[0](held_out)[1].argmax(1) == data.test_classes).float().mean()) > 0.6
