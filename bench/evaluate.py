"""What a trained energy is worth: samples from it, and every metric that the data set allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from bench import load
from bench.calculus import Energy
from bench.declare import Data, Estimate
from bench.quadrature import Frozen, grid_sample
from bench.rng import Rng
from bench.samplers import mala

TARGET_ACCEPTANCE = 0.57  # optimal for MALA in high dimension (Roberts & Rosenthal 1998)


def evaluate(
    energies: Mapping[str, Energy],
    samples: Mapping[str, Tensor | str],
    data: Data,
    metric_names: Iterable[str],
    rng: Rng,
) -> dict[str, dict[str, dict[str, Any]]]:
    """{metric: {variant: value, stderr, n, ...}} for each variant of the weights ("last", "ema", "best").

    Every variant sees the same random numbers, so that their differences are not noise.

    Args:
        energies: by variant.
        samples: the model's samples by variant, or why there are none.
    """
    metrics = {name: load.metric(name) for name in metric_names}
    results: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in metrics}
    for variant, energy in energies.items():
        drawn = samples[variant]
        for name, metric in metrics.items():
            missing = metric.info.needs - data.provides - {"samples"}
            if missing:
                estimate = Estimate(None, reason=f"n/a (needs {', '.join(sorted(missing))})")
            elif isinstance(drawn, str) and "samples" in metric.info.needs:
                estimate = Estimate(None, reason=drawn)
            else:
                points = data.test[:0] if isinstance(drawn, str) else drawn
                estimate = _finite(metric(energy, points, data, rng.stream("eval")))
            about = {k: v for k, v in asdict(metric.info).items() if k in ("unit", "better", "version")}
            results[name][variant] = {**asdict(estimate), **about}
    return results


def _finite(estimate: Estimate) -> Estimate:
    if estimate.value is None or math.isfinite(estimate.value):
        return estimate
    return replace(estimate, value=None, certified=False, reason=estimate.reason or f"the value is {estimate.value}")


def glance(energy: Energy, data: Data, rng: Rng) -> dict[str, float | bool | None]:
    """What a checkpoint records, where there is a grid: `valid_nll`, whether it is `certified`, and `kl`."""
    if data.grid is None:
        return {}
    frozen, none = Frozen(energy), data.valid[:0]
    nll = load.metric("nll")(frozen, none, replace(data, test=data.valid), rng)
    values: dict[str, float | bool | None] = {"valid_nll": nll.value, "certified": nll.certified}
    if data.log_density is not None:
        values["kl"] = load.metric("kl")(frozen, none, data, rng).value
    return values


def model_samples(energy: Energy, data: Data, settings: dict[str, Any], rng: Rng) -> Tensor | str:
    """Samples of exp(-E)/Z, (n, *event), or why there are none.

    On a grid they are exact up to a cell; elsewhere they are the ends of MALA chains of `sampler_steps` steps from
    noise of the data's mean and variance, with a step that is adapted in the first half and fixed in the second.
    """
    n = settings["samples"]
    if data.grid is not None:
        try:
            return grid_sample(energy, data.grid, n, rng, like=data.train)
        except ValueError as error:
            return str(error)
    mean, std = data.train.mean(0), data.train.std()
    x = mean + std * rng.normal_like(data.train[:1].expand(n, *data.train.shape[1:]))
    step = torch.full((), float(std.square()) / x[0].numel(), device=x.device)
    adaptation = settings["sampler_steps"] // 2
    for _ in range(adaptation):
        chain = mala(energy, x, rng, steps=1, step_size=step)
        x = chain.x
        # a tensor operation, so that a GPU does not wait for the host
        step = step * (0.1 * (chain.acceptance.mean() - TARGET_ACCEPTANCE)).exp()
    return mala(energy, x, rng, steps=settings["sampler_steps"] - adaptation, step_size=step).x
