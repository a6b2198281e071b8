"""Small classifiers whose features image metrics are taken on: shipped weights, named after their digest."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.common.errors import UsageError, suggest
from bench.common.paths import EXTRACTORS

FEATURES = 64
FILTERS = (32, 48, 64, 64)  # before the first halving and after each
SMALLEST = 4  # pixels a side at which halving stops
DIGITS = 8  # of the sha256 that ends a name
CHUNK = 500


class Classifier(nn.Module):
    """uint8 images (n, C, H, W) -> features (n, 64), the last layer's input, and logits (n, classes).

    3×3 convolutions that halve the image down to 4 pixels a side, batch normalisation, ReLU.

    Raises:
        ValueError: if the images are not uint8 or not of the shape that it was made for.
    """

    def __init__(self, event: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.event = event
        channels, height, width = event
        layers: list[nn.Module] = []
        for depth, filters in enumerate(FILTERS):
            if depth > 0 and max(height, width) <= SMALLEST:
                break
            stride = 1 if depth == 0 else 2
            layers += [nn.Conv2d(channels, filters, 3, stride, 1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
            channels, height, width = filters, -(-height // stride), -(-width // stride)
        flat = channels * height * width
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.event:
            raise ValueError(
                f"an extractor takes uint8 images {self.event}; got {images.dtype} {tuple(images.shape[1:])}; "
                "pass them through bench.extractor.quantised"
            )
        features: Tensor = self.trunk(images.float() / 127.5 - 1)
        return features, self.head(features)


@dataclass(frozen=True)
class Extractor:
    """A classifier with its weights; `name` ends with the digits of their sha256, `about` says how it was made."""

    name: str
    network: Classifier
    about: Mapping[str, object]

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, 64) and logits (n, K) of uint8 images, on the images' own device."""
        network = self.network.to(images.device)
        with torch.no_grad():
            parts = [network(chunk) for chunk in images.split(CHUNK)]
        return torch.cat([features for features, _ in parts]), torch.cat([logits for _, logits in parts])


def quantised(x: Tensor, value_range: tuple[float, float]) -> Tensor:
    """uint8 images: x clamped to [low, high], mapped onto [0, 255] and rounded. Samples and data go the same way."""
    low, high = value_range
    return (255 * (x.clamp(low, high) - low) / (high - low)).round().to(torch.uint8)


def names() -> list[str]:
    """The extractors that come with the project, sorted."""
    return sorted(path.stem for path in EXTRACTORS.glob("*.npz"))


@cache
def load(name: str) -> Extractor:
    """The shipped extractor of that name.

    Raises:
        UsageError: if there is none, or its weights are not those that its name and its description promise.
    """
    if name not in names():
        raise suggest("extractor", name, names())
    content = (EXTRACTORS / f"{name}.npz").read_bytes()
    about = json.loads((EXTRACTORS / f"{name}.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256(content).hexdigest()
    if digest != about["sha256"] or not name.endswith(f"-{digest[:DIGITS]}"):
        raise UsageError(
            f"the weights of extractor {name} must have the sha256 {about['sha256']}; the file has {digest}; restore "
            f"it, or train it again and name it anew: python scripts/train_extractor.py {about['dataset']}"
        )
    network = Classifier(tuple(about["event"]), about["classes"])
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        network.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    return Extractor(name, network.requires_grad_(False).eval(), about)


def save(network: Classifier, stem: str, about: dict[str, Any], folder: Path = EXTRACTORS) -> str:
    """Writes the weights and their description; returns the name, which is `stem` and the weights' digest."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: value.cpu().numpy() for key, value in network.state_dict().items()})
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    name = f"{stem}-{digest[:DIGITS]}"
    described = {"event": list(network.event), "classes": network.head.out_features, "sha256": digest, **about}
    (folder / f"{name}.npz").write_bytes(buffer.getvalue())
    (folder / f"{name}.json").write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return name
