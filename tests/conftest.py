"""Every test runs on one thread, as every run does: with workers beside each other more would only contend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Features of images are kept in a folder of the tests' own, and results nowhere."""
    from bench.evaluation import image_fidelity

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    yield
    image_fidelity._compared.clear()
    image_fidelity._seen.clear()
