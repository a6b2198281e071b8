"""The standard Inception features: told apart, looked through before they are loaded, never run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from bench.api import Rng, UsageError
from bench.evaluation import feature_extractor, image_fidelity

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under which activations keep their size: with torch's own, every image has the same features."""
    folder = tmp_path_factory.mktemp("inception")
    torch.save({}, folder / "empty.pth")
    with pytest.MonkeyPatch.context() as patch:
        network_class = image_fidelity.torch_fidelity().FeatureExtractorInceptionV3
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
    source = image_fidelity.inception(random_inception)
    assert source.name.startswith("inception-v3-of-other-weights-")
    rng = Rng(0)
    noise = feature_extractor.quantised(rng.uniform((8, 1, 32, 32)), (0.0, 1.0))
    ramps = (torch.arange(32)[None, None, :, None] * rng.integers(8, (8, 1, 1, 1))).expand(8, 1, 32, 32).byte()
    different, same = (image_fidelity.compare(noise, x, source) for x in (ramps, noise))
    assert different.fid > 1
    assert abs(same.fid) < 1e-3 * different.fid
    assert different.kid > 10 * abs(same.kid)
    assert "needs more than 8 images" in different.warning


def test_inception_weights_are_looked_through_before_they_are_loaded(random_inception: Path, tmp_path: Path) -> None:
    state = torch.load(random_inception, weights_only=True)
    assert len(state) == image_fidelity.INCEPTION_ENTRIES

    def refused(content: object, match: str) -> None:
        path = tmp_path / "file.pth"
        torch.save(content, path)
        with pytest.raises(UsageError, match=match):
            image_fidelity.inception(path)

    few = dict(list(state.items())[:-1])
    refused(few, "holds 565")
    refused([1, 2], "other things than named tensors")
    refused({**few, "fc.bias": torch.zeros(1000)}, "do not fit")
    refused({**few, "other.bias": torch.zeros(1008)}, "do not fit")
    with pytest.raises(UsageError, match="cannot be read as tensors alone"):
        image_fidelity.inception(tmp_path / "nothing.pth")
    (tmp_path / "text.pth").write_text("no archive", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be read as tensors alone"):
        image_fidelity.inception(tmp_path / "text.pth")


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
            image_fidelity.inception(tmp_path / name)
    assert not target.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert target.exists()  # the trap was sharp
