"""What a trained energy is worth: samples from it, and every metric that the data set allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from bench import load
from bench.calculus import Energy
from bench.declare import Data, Estimate, MetricInfo
from bench.quadrature import Frozen, grid_sample
from bench.rng import Rng
from bench.samplers import mala
from bench.trained import Trained

Samples = Mapping[str, Tensor | str]
"""A model's samples (n, *event), or why there are none, by sampler; the only sampler of a suite is called ""."""

TARGET_ACCEPTANCE = 0.57  # optimal for MALA in high dimension (Roberts & Rosenthal 1998)


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
    metrics = [load.metric(name) for name in metric_names]
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for variant, energy in energies.items():
        for metric in metrics:
            for name, estimate in _estimates(metric, energy, samples[variant], data, rng):
                results.setdefault(name, {})[variant] = described(estimate, metric.info)
    return results


def described(estimate: Estimate, info: MetricInfo) -> dict[str, Any]:
    """An estimate as a row keeps it, with what its metric declares."""
    return {**asdict(_finite(estimate)), "unit": info.unit, "better": info.better, "version": info.version}


def _estimates(
    metric: load.Metric, energy: Energy, samples: Samples, data: Data, rng: Rng
) -> Iterator[tuple[str, Estimate]]:
    """Each value by its name; one that looks at samples has a value for each sampler that has a name."""
    missing = metric.info.needs - data.provides - {"samples"}
    if missing:
        yield metric.info.name, Estimate(None, reason=f"n/a (needs {', '.join(sorted(missing))})")
    elif "samples" not in metric.info.needs:
        yield from metric.all(energy, data.test[:0], data, rng.stream("eval")).items()
    else:
        for sampler, drawn in samples.items():
            suffix = f".{sampler}" if sampler else ""
            if isinstance(drawn, str):
                yield metric.info.name + suffix, Estimate(None, reason=drawn)
                continue
            for name, estimate in metric.all(energy, drawn, data, rng.stream("eval")).items():
                yield name + suffix, estimate


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


def all_samples(energy: Energy, objective: load.Objective, data: Data, settings: dict[str, Any], rng: Rng) -> Samples:
    """The model's samples by each of the suite's samplers.

    "own" is the way in which the objective itself makes samples: a short run from noise, the chains of its buffer,
    noise levels one by one, a generator; "noise" where it has none of its own. "noise", "data" and "continued" are MALA
    chains of `sampler_steps` steps on exp(-E): from noise, which says whether the energy by itself leads to samples;
    from training data, whether it holds on to those; from the ends of "own", whether it holds on to what its objective
    made. "" is an exact sample on a grid, elsewhere "noise".
    """
    found: dict[str, Tensor | str] = {}
    if not any("samples" in load.find("metrics", ref).info.needs for ref in settings["metrics"]):
        return found  # chains on images are dear
    wanted = settings["samplers"] or [""]
    own = None
    if {"own", "continued"} & set(wanted):
        network = energy.network if isinstance(energy, Trained) else energy
        like = data.train[:1].expand(settings["samples"], *data.train.shape[1:])
        own = objective.sample(network, like, rng.stream("sampler own"))
    # "noise" first, which "own" may stand for
    for sampler in sorted(wanted, key=lambda name: name != "noise"):
        stream = rng.stream(f"sampler {sampler}") if sampler else rng.stream("eval")
        if sampler == "continued":
            absent = "the objective has no sampler of its own"
            found[sampler] = absent if own is None else model_samples(energy, data, settings, stream, start=own)
        elif sampler == "own" and own is not None:
            found[sampler] = own
        elif sampler == "own" and "noise" in found:
            found[sampler] = found["noise"]
        elif sampler == "data":
            chosen = stream.integers(len(data.train), (settings["samples"],)).to(data.train.device)
            found[sampler] = model_samples(energy, data, settings, stream, start=data.train[chosen])
        else:
            found[sampler] = model_samples(energy, data, settings, stream)
    return {sampler: found[sampler] for sampler in wanted}


def model_samples(
    energy: Energy, data: Data, settings: dict[str, Any], rng: Rng, *, start: Tensor | None = None
) -> Tensor | str:
    """Samples of exp(-E)/Z, (n, *event), or why there are none.

    On a grid they are exact up to a cell, unless there are points to start from; elsewhere they are the ends of MALA
    chains of `sampler_steps` steps, from these points or from noise of the data's mean and variance, with a step that
    is adapted in the first half and fixed in the second.
    """
    n = settings["samples"]
    if data.grid is not None and start is None:
        try:
            return grid_sample(energy, data.grid, n, rng, like=data.train)
        except ValueError as error:
            return str(error)
    std, x = data.train.std(), start
    if x is None:
        x = data.train.mean(0) + std * rng.normal_like(data.train[:1].expand(n, *data.train.shape[1:]))
    step = torch.full((), float(std.square()) / x[0].numel(), device=x.device)
    adaptation = settings["sampler_steps"] // 2
    for _ in range(adaptation):
        chain = mala(energy, x, rng, steps=1, step_size=step)
        x = chain.x
        # a tensor operation, so that a GPU does not wait for the host
        step = step * (0.1 * (chain.acceptance.mean() - TARGET_ACCEPTANCE)).exp()
    return mala(energy, x, rng, steps=settings["sampler_steps"] - adaptation, step_size=step).x
