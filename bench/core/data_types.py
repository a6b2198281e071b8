"""The types that data sets and metrics return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from bench.core.derivatives import Energy
from bench.core.rng import Rng


@dataclass(frozen=True)
class Estimate:
    """A metric's value. None means that there is none, and then `reason` says why.

    Attributes:
        stderr: its standard error where it is an estimate from `n` draws.
        certified: whether it may be ranked; if not, `reason` says why.
        detail: whatever explains the value, in plain numbers and words.
    """

    value: float | None
    stderr: float | None = None
    n: int | None = None
    certified: bool = True
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """The box [low, high] that holds the data's law up to a negligible mass, one entry a dimension (1 or 2)."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Data:
    """A data set as one seed sees it; what is not None is what it provides.

    For a stack of S seeds the tensors are (S, n, *event), each seed's drawn from its own stream.

    Attributes:
        train, valid, test: examples (n, *event).
        local_scale: the standard deviation of the data in its narrowest local direction, in units of x, where the
            data set knows it; (E‖score‖²)^-½ where a density has edges, which are narrower than its variance says.
        log_density: x (*batch, *event) -> (*batch,), normalised, in nats.
        score: ∇ₓ log_density, (*batch, *event) -> (*batch, *event).
        sample: (n, rng) -> fresh examples (n, *event), or (S, n, *event).
        entropy: -∫ p log p in nats, by quadrature.
        grid: where quadrature is done.
        modes, mode_weights: centres (M, *event) and probabilities (M,) of the modes.
        mode_of: the index of the mode that each point belongs to, (*batch, *event) -> (*batch,).
        noise: the standard deviation of Gaussian noise that was added to what the examples are of, in units of x.
        whole_valid, whole_test: held-out clean images (n, C, H, W), where the examples are patches of images or noised.
        value_range: the interval in which clean images lie, in units of x; PSNR's data range is its length, and image
            metrics clamp samples to it before they look at them.
        levels: how many values a pixel had before it was dequantised; None where noise was added, too.
        content: a hash of what was read from files, before any noise; part of a cell's identity.
        extractor: the feature extractor that image metrics are taken on, a name in `bench/extractors`. It ends with the
            digest of the weights, so that other weights make another data set's code, and other cells.
        offset, unit: how the examples were standardised, x = (given - offset) / unit, both (*event); None if they
            were not.
        train_classes, test_classes: what each image shows, (n,), 0 to K - 1; only extractors are trained on it.
    """

    name: str
    train: Tensor
    valid: Tensor
    test: Tensor
    local_scale: float | None = None
    log_density: Callable[[Tensor], Tensor] | None = None
    score: Callable[[Tensor], Tensor] | None = None
    sample: Callable[[int, Rng], Tensor] | None = None
    entropy: float | None = None
    grid: Grid | None = None
    modes: Tensor | None = None
    mode_weights: Tensor | None = None
    mode_of: Callable[[Tensor], Tensor] | None = None
    value_range: tuple[float, float] | None = None
    noise: float = 0.0
    whole_valid: Tensor | None = None
    whole_test: Tensor | None = None
    levels: int | None = None
    content: str | None = None
    extractor: str | None = None
    offset: Tensor | None = None
    unit: Tensor | None = None
    train_classes: Tensor | None = None
    test_classes: Tensor | None = None

    @property
    def provides(self) -> frozenset[str]:
        """The names of what is not None."""
        return frozenset(f.name for f in fields(self) if getattr(self, f.name) is not None)

    def of_seed(self, k: int) -> Data:
        """What the k-th seed of a stack sees; clean images that all seeds share, without a stack's axis, stay."""
        own = {name: getattr(self, name)[k] for name in ("train", "valid", "test")}
        whole = {name: getattr(self, name) for name in ("whole_valid", "whole_test")}
        own |= {name: v[k] for name, v in whole.items() if v is not None and v.ndim == self.train.ndim}
        return replace(self, **own)

    def judged_on(self, split: str) -> Data:
        """The same data with validation examples in the place of the test examples, if `split` is "valid"."""
        return replace(self, test=self.valid, whole_test=self.whole_valid) if split == "valid" else self

    def to(self, device: torch.device) -> Data:
        """The same data with its tensors on a device."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in values.items()}
        return Data(**moved)


MetricFunction = Callable[[Energy, Tensor, Data, Rng], Estimate | dict[str, Estimate]]
