"""What `check` holds a metric to."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import cache, lru_cache

import torch
from torch import Tensor

from bench.contract.rule import Rule, other_global_seed, require
from bench.core.data_types import Data, Estimate, Grid
from bench.core.declarations import OF_MODEL
from bench.core.derivatives import offering
from bench.core.rng import Rng
from bench.data.mixtures import exact_data, noisy_points
from bench.evaluation import feature_extractor
from bench.evaluation.trained_energy import TrainedEnergy
from bench.plugins import builders, registry


def _bed() -> Data:
    """Two Gaussians in the plane with all that a data set of points can declare."""
    half = 5.0
    mixture = noisy_points(torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64), 0.4)
    grid = Grid((-half, -half), (half, half))
    return exact_data("two Gaussians", Rng(0, "data"), (256, 256, 512), mixture, grid=grid, local_scale=0.4)


@cache
def _images() -> Data:
    # the data set that the first shipped extractor was trained on
    name = feature_extractor.names()[0].rpartition("-")[0]
    return builders.dataset(name, Rng(0, "data"), n_train=300, n_valid=60, n_test=60)


def _bed_for(plugin: registry.Plugin) -> Data:
    """Two Gaussians, or images where a metric needs what only images have."""
    return _bed() if plugin.info.needs <= _bed().provides | OF_MODEL else _images()


def _measure(plugin: registry.Plugin, ref: str, shift: float) -> dict[str, Estimate]:
    data = _bed_for(plugin)
    precision, centre = 1 / float(data.train.var()), data.train.mean(0)

    # with a score of its own: chains of hundreds of steps then take no graph
    def energy_and_score(x: Tensor) -> tuple[Tensor, Tensor]:
        away = x - centre
        return shift + 0.5 * precision * away.flatten(1).square().sum(-1), -precision * away

    model = offering(lambda x: energy_and_score(x)[0], energy_and_score)
    # what is added to an energy is taken from its log Z
    model.log_z_estimate = 0.5 - shift  # type: ignore[attr-defined]
    if "noise_levels" in plugin.info.needs:
        # a normal law under noise of every level: an energy that stays as narrow would make the flow stiff
        def noised(x: Tensor, sigma: Tensor) -> Tensor:
            return shift + 0.5 * (x - centre).flatten(1).square().sum(-1) / (1 / precision + sigma.square())

        model = TrainedEnergy(noised, levels=(0.1, 10.0), conditional=True)
    fresh = data.test if data.sample is None else data.sample(300, Rng(1))
    return builders.metric(ref).all(model, fresh * 1.1, data, Rng(0, "eval"))


@lru_cache(maxsize=1)
def _plain_measure(target: object, ref: str) -> dict[str, Estimate]:
    """The measurement that every rule begins with, made once a plug-in, as `target` is anew for an edited file."""
    return other_global_seed(0, lambda: _measure(registry.find("metrics", ref), ref, 0.0))


def _plain(plugin: registry.Plugin, ref: str) -> dict[str, Estimate]:
    return _plain_measure(plugin.target, ref)


def _lacks(plugin: registry.Plugin) -> str:
    missing = plugin.info.needs - {f.name for f in fields(Data)} - OF_MODEL
    require(not missing, f"needs {', '.join(sorted(missing))}, which no data set can provide")
    absent = plugin.info.needs - _bed_for(plugin).provides - OF_MODEL
    return f"not run: needs {', '.join(sorted(absent))}" if absent else ""


def _estimate(plugin: registry.Plugin, ref: str) -> str:
    if lacks := _lacks(plugin):
        return lacks
    found = _plain(plugin, ref)
    values = {name: e.value for name, e in found.items() if e.value is not None}
    where = _bed_for(plugin).name
    require(bool(values), f"no value on {where}: {next(iter(found.values())).reason or 'and no reason given'}")
    for name, value in values.items():
        require(math.isfinite(value), f"the value of {name} is {value}")
        comparable = plugin.info.scale == "difference" or value >= 0
        require(comparable, f"{name} is {value:.4g}, of which there is no ratio: declare @metric(scale='difference')")
    return ", ".join(f"{value:.4g}" for value in values.values()) + f" {plugin.info.unit} on {where}"


def _without_zero(plugin: registry.Plugin, ref: str) -> str:
    if lacks := _lacks(plugin):
        return lacks
    before, after = _plain(plugin, ref), _measure(plugin, ref, 7.0)
    for name, estimate in before.items():
        a, b = estimate.value, after[name].value
        require((a is None) == (b is None), f"{name} has a value only under one of two constants in the energy")
        if a is not None and b is not None:
            # in a dear metric chains may run, and rounding makes one of them accept what another refuses
            noise = 4 * (estimate.stderr or 0.0) if plugin.info.dear else 0.0
            require(
                abs(a - b) <= max(1e-4 * max(1.0, abs(a)), noise),
                f"{a:.6g} becomes {b:.6g} when 7 is added to the energy",
            )
    return "unchanged when a constant is added to the energy"


def _repeatable(plugin: registry.Plugin, ref: str) -> str:
    if lacks := _lacks(plugin):
        return lacks
    both = _plain(plugin, ref), other_global_seed(1, lambda: _measure(plugin, ref, 0.0))
    a, b = ({name: estimate.value for name, estimate in found.items()} for found in both)
    require(a == b, f"{a} and {b} under two global seeds; draw everything from rng")
    return "rng alone decides the value"


RULES: dict[str, Rule] = {
    "estimate": _estimate,
    "energy's zero": _without_zero,
    "private randomness": _repeatable,
}
