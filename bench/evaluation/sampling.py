"""A model's samples: by the objective's own sampler, and by long chains."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from bench.common.errors import failure_reason
from bench.common.machine_faults import is_machine_fault
from bench.common.run_spec import EvaluationSpec
from bench.core.data_types import Data
from bench.core.derivatives import Energy, rescaled
from bench.core.quadrature import grid_sample
from bench.core.rng import Rng
from bench.evaluation.trained_energy import TrainedEnergy
from bench.plugins import registry
from bench.plugins.objective import Objective
from bench.samplers.metropolis import mala

Samples = Mapping[str, Tensor | str]
"""A model's samples (n, *event), or why there are none, by sampler; the only sampler of a suite is called ""."""
AT_ONCE = 2000  # draws of one call of the network: paper-sized sets of images would not fit a GPU's memory
HOTTEST = 10.0  # the temperature that tempered chains begin at
TARGET_ACCEPTANCE = 0.57  # optimal for MALA in high dimension (Roberts & Rosenthal 1998)


def all_samples(energy: Energy, objective: Objective, data: Data, settings: EvaluationSpec, rng: Rng) -> Samples:
    """The model's samples by each of the suite's samplers.

    "own" is the way in which the objective itself makes samples: a short run from noise, the chains of its buffer,
    noise levels one by one, a generator; "noise" where it has none of its own. "noise", "data" and "continued" are MALA
    chains of `sampler_steps` steps on exp(-E): from noise, which says whether the energy by itself leads to samples;
    from training data, whether it holds on to those; from the ends of "own", whether it holds on to what its objective
    made. "tempered" is "noise" at a temperature that falls from `HOTTEST` to 1 in the first half of the steps. "" is an
    exact sample on a grid, elsewhere "noise". A buffer of chains and a generator are kept for the last weights alone:
    "own" draws the same from them whichever weights are judged.
    """
    found: dict[str, Tensor | str] = {}
    if not any("samples" in registry.find("metrics", ref).info.needs for ref in settings.metrics):
        return found  # chains on images are dear
    wanted = settings.samplers or [""]
    own: Tensor | str | None = None
    if {"own", "continued"} & set(wanted):
        network = energy.network if isinstance(energy, TrainedEnergy) else energy
        like = data.train[:1].expand(settings.samples, *data.train.shape[1:])
        own = or_reason(lambda: _own_samples(objective, network, like, rng.stream("sampler own")))

    def chains(stream: Rng, start: Tensor | None, hottest: float = 1.0) -> Tensor | str:
        if start is None:
            return or_reason(lambda: _from_noise(energy, data, settings, stream, hottest))
        return or_reason(lambda: _mala_chains(energy, data, settings, stream, start=start))

    # "noise" first, which "own" may stand for
    for sampler in sorted(wanted, key=lambda name: name != "noise"):
        stream = rng.stream(f"sampler {sampler}") if sampler else rng.stream("eval")
        if sampler == "continued":
            start = "the objective has no sampler of its own" if own is None else own
            found[sampler] = start if isinstance(start, str) else chains(stream, start)
        elif sampler == "own" and own is not None:
            found[sampler] = own
        elif sampler == "own" and "noise" in found:
            found[sampler] = found["noise"]
        elif sampler == "data":
            chosen = stream.integers(len(data.train), (settings.samples,)).to(data.train.device)
            found[sampler] = chains(stream, data.train[chosen])
        elif not sampler and data.grid is not None:
            found[sampler] = or_reason(partial(_exact_samples, energy, data, settings, stream))
        else:
            found[sampler] = chains(stream, None, HOTTEST if sampler == "tempered" else 1.0)
    return {sampler: found[sampler] for sampler in wanted}


def _own_samples(objective: Objective, network: Energy, like: Tensor, rng: Rng) -> Tensor | None:
    """`AT_ONCE` by `AT_ONCE`, unless the objective's memory has a part in them, such as a buffer of chains."""
    if objective.info.sampler is None or isinstance(objective.loss, nn.Module) or len(like) <= AT_ONCE:
        return objective.sample(network, like, rng)
    parts = (objective.sample(network, part, rng) for part in like.split(AT_ONCE))
    return torch.cat([part for part in parts if part is not None])


def _from_noise(energy: Energy, data: Data, settings: EvaluationSpec, rng: Rng, hottest: float) -> Tensor:
    counts = [min(AT_ONCE, settings.samples - k) for k in range(0, settings.samples, AT_ONCE)]
    return torch.cat([_mala_chains(energy, data, replace(settings, samples=n), rng, hottest=hottest) for n in counts])


T = TypeVar("T")


def or_reason(draw: Callable[[], T]) -> T | str:
    """What is drawn or measured, or why there is nothing.

    A sampler or a metric that raises must not cost a run what it has learned; a machine that fails is the run's end.
    """
    try:
        return draw()
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        if is_machine_fault(error):
            raise
        traceback.print_exc()
        return failure_reason(error)


def _exact_samples(energy: Energy, data: Data, settings: EvaluationSpec, rng: Rng) -> Tensor | str:
    """Samples of exp(-E)/Z on the data's grid, (n, *event), exact up to a cell; or why there are none."""
    assert data.grid is not None
    try:
        return grid_sample(energy, data.grid, settings.samples, rng, like=data.train)
    except ValueError as error:
        return str(error)


def _mala_chains(
    energy: Energy,
    data: Data,
    settings: EvaluationSpec,
    rng: Rng,
    *,
    start: Tensor | None = None,
    hottest: float = 1.0,
) -> Tensor:
    """The ends of MALA chains on exp(-E) of `sampler_steps` steps, (n, *event).

    They begin at given points, or in noise of the data's mean and variance. The step is adapted in the first half and
    fixed in the second.

    Args:
        hottest: T of exp(-E/T) in the first step; it falls to 1 by equal factors until the first half is over.
    """
    n, std, x = settings.samples, data.train.std(), start
    if x is None:
        x = data.train.mean(0) + std * rng.normal_like(data.train[:1].expand(n, *data.train.shape[1:]))
    step = torch.full((), float(std.square()) / x[0].numel(), device=x.device)
    adaptation = settings.sampler_steps // 2
    for k in range(adaptation):
        chain = mala(_at_temperature(energy, hottest ** (1 - k / adaptation)), x, rng, steps=1, step_size=step)
        x = chain.x
        # a tensor operation, so that a GPU does not wait for the host
        step = step * (0.1 * (chain.acceptance.mean() - TARGET_ACCEPTANCE)).exp()
    return mala(energy, x, rng, steps=settings.sampler_steps - adaptation, step_size=step).x


def _at_temperature(energy: Energy, temperature: float) -> Energy:
    return energy if temperature == 1.0 else rescaled(energy, value=1 / temperature)
