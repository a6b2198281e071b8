"""What a trained energy is worth: samples from it, and every metric that the data set allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from bench.core.data_types import Data, Estimate
from bench.core.declarations import MetricInfo
from bench.core.derivatives import Energy
from bench.core.quadrature import CachedFunction
from bench.core.rng import Rng
from bench.evaluation.sampling import Samples, or_reason
from bench.evaluation.trained_energy import TrainedEnergy
from bench.plugins import builders


def evaluate(
    energies: Mapping[str, Energy],
    samples: Mapping[str, Samples],
    data: Data,
    metric_names: Iterable[str],
    rng: Rng,
) -> dict[str, dict[str, dict[str, Any]]]:
    """{metric: {variant: value, stderr, n, ...}} for each variant of the weights ("last", "ema", "best").

    Every variant sees the same random numbers, so that their differences are not noise.

    Args:
        energies: by variant.
        samples: the model's samples by variant, each by its sampler.
    """
    metrics = [builders.metric(name) for name in metric_names]
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for variant, energy in energies.items():
        for metric in metrics:
            for name, estimate in _estimates(metric, energy, samples[variant], data, rng):
                results.setdefault(name, {})[variant] = described(estimate, metric.info)
    return results


def described(estimate: Estimate, info: MetricInfo) -> dict[str, Any]:
    """An estimate as a row keeps it, with what its metric declares."""
    about = {"unit": info.unit, "better": info.better, "scale": info.scale, "version": info.version}
    return {**asdict(_finite(estimate)), **about}


def _estimates(
    metric: builders.Metric, energy: Energy, samples: Samples, data: Data, rng: Rng
) -> Iterator[tuple[str, Estimate]]:
    """Each value by its name; one that looks at samples has a value for each sampler that has a name."""
    offered = {"samples"}
    if getattr(energy, "log_z_estimate", None) is not None:
        offered.add("log_z")
    if isinstance(energy, TrainedEnergy) and energy.has_range:
        offered.add("noise_levels")
    missing = metric.info.needs - data.provides - offered
    if missing:
        yield metric.info.name, Estimate(None, reason=f"n/a (needs {', '.join(sorted(missing))})")
    elif "samples" not in metric.info.needs:
        yield from _or_reason(metric, energy, data.test[:0], data, rng).items()
    else:
        for sampler, drawn in samples.items():
            suffix = f".{sampler}" if sampler else ""
            if isinstance(drawn, str):
                yield metric.info.name + suffix, Estimate(None, reason=drawn)
                continue
            for name, estimate in _or_reason(metric, energy, drawn, data, rng).items():
                yield name + suffix, estimate


def _or_reason(metric: builders.Metric, energy: Energy, samples: Tensor, data: Data, rng: Rng) -> dict[str, Estimate]:
    """Every value of a metric by its name; one without a value, and the reason, where the metric raises."""
    found = or_reason(lambda: metric.all(energy, samples, data, rng.stream("eval")))
    return {metric.info.name: Estimate(None, certified=False, reason=found)} if isinstance(found, str) else found


def _finite(estimate: Estimate) -> Estimate:
    if estimate.value is None or math.isfinite(estimate.value):
        return estimate
    return replace(estimate, value=None, certified=False, reason=estimate.reason or f"the value is {estimate.value}")


def checkpoint_metrics(energy: Energy, data: Data, rng: Rng) -> dict[str, float | bool | None]:
    """What a checkpoint records, where there is a grid: `valid_nll`, whether it is `certified`, and `kl`."""
    if data.grid is None:
        return {}
    frozen, none = CachedFunction(energy), data.valid[:0]
    nll = builders.metric("nll")(frozen, none, replace(data, test=data.valid), rng)
    values: dict[str, float | bool | None] = {"valid_nll": nll.value, "certified": nll.certified}
    if data.log_density is not None:
        values["kl"] = builders.metric("kl")(frozen, none, data, rng).value
    return values
