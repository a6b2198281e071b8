"""What `check` holds a classical denoiser to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.common.errors import UsageError
from bench.common.run_spec import Value
from bench.contract.rule import Rule, other_global_seed, require
from bench.core.rng import Rng
from bench.plugins import registry
from bench.runner import classical_run
from bench.training import denoiser

TRUNK: dict[str, Value] = {"name": "multiscale_convolutional", "width": 8, "readout": "sum"}


def _ready(plugin: registry.Plugin, ref: str, channels: int = 1) -> Callable[[Tensor, float], Tensor]:
    """A function as it is; a network untrained.

    Raises:
        UsageError: if it needs a package that is not here.
    """
    if plugin.info.missing:
        raise UsageError(plugin.info.missing)
    if not plugin.has_memory:
        return classical_run.find_denoiser(ref)
    network = denoiser.untrained(plugin, (channels, 24, 20), 0, {}, TRUNK)
    return denoiser.Learned(network, 0.0)


def _denoiser_shape(plugin: registry.Plugin, ref: str) -> str:
    for channels in (1, 3):
        y = Rng(0).uniform((2, channels, 24, 20)) + 0.1 * Rng(1).normal((2, channels, 24, 20))
        images = _ready(plugin, ref, channels)(y, 0.1)
        require(bool(images.isfinite().all()), f"what it makes of {channels} channels is not finite")
    return "finite images of the shape that they came in, grey and in colour"


def _denoiser_flat(plugin: registry.Plugin, ref: str) -> str:
    if plugin.has_memory:
        return "not run: it has to be trained first"
    flat = torch.full((1, 1, 24, 20), 0.25)
    change = float((classical_run.find_denoiser(ref)(flat, 0.1) - flat).abs().max())
    require(change <= 0.02, f"a flat image is changed by {change:.3g}")
    return "a flat image stays flat"


def _denoiser_private(plugin: registry.Plugin, ref: str) -> str:
    y = Rng(0).normal((1, 1, 24, 20))
    a, b = (other_global_seed(k, lambda: _ready(plugin, ref)(y, 0.5)) for k in range(2))
    # code of others may add in another order each time
    slack = 1e-5 if plugin.info.package else 0.0
    require(torch.allclose(a, b, rtol=0.0, atol=slack), "two calls on one image differ")
    return "the image alone decides"


RULES: dict[str, Rule] = {
    "shape": _denoiser_shape,
    "flat image": _denoiser_flat,
    "no randomness": _denoiser_private,
}
