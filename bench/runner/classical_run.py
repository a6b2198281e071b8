"""A denoiser as a run of a suite, judged as energies are.

A classical one has its parameter chosen on validation images. One that is a network is trained, and where a suite
judges samples, its own are: it is a score network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.common.errors import UsageError
from bench.common.run_spec import RunSpec
from bench.core.data_types import Data, Estimate
from bench.core.rng import Rng
from bench.core.search_spaces import Log
from bench.evaluation.artifacts import save
from bench.evaluation.denoising import LEVELS, Removed, estimated_sigmas, held_out, in_units, judged, noisy, psnr, ssim
from bench.evaluation.evaluator import described, evaluate
from bench.evaluation.sampling import or_reason
from bench.plugins import builders, registry
from bench.runner.resumption import Keeper
from bench.training import stopwatch
from bench.training.denoiser import DenoiserTrainer, Learned
from bench.training.loop import Curve

CPU = torch.device("cpu")
FEW = 8  # samples that are drawn to tell the time that all of them take
CANDIDATES = 7  # values of the parameter, evenly in the logarithm over its search space
QUALITY = {"denoising_psnr": psnr, "denoising_ssim": ssim}


@dataclass(frozen=True)
class Denoiser:
    """A classical denoiser ready for use: (y, sigma, **parameter) -> images.

    Attributes:
        space: the name of its parameter, and the ends between which that is chosen; None if it has none.
    """

    function: Callable[..., Tensor]
    space: tuple[str, float, float] | None

    def __call__(self, y: Tensor, sigma: float, **values: float) -> Tensor:
        """The denoised images, shaped as y.

        Raises:
            ValueError: if the plug-in returns another shape.
        """
        images = self.function(y, sigma, **values)
        if images.shape != y.shape:
            raise ValueError(f"a denoiser must return images of shape {tuple(y.shape)}; got {tuple(images.shape)}")
        return images


def find_denoiser(ref: str) -> Denoiser:
    """The denoiser that `ref` names, if it is a function; one that is a class has first to be trained.

    Raises:
        UsageError: if the plug-in is not as it must be; above all if it has several parameters.
    """
    plugin = registry.find("denoisers", ref)
    if len(plugin.parameters) > 1:
        raise UsageError(f"{plugin.name}: a denoiser has at most one parameter; got {', '.join(plugin.parameters)}")
    spaces = [(name, p.space.low, p.space.high) for name, p in plugin.parameters.items() if isinstance(p.space, Log)]
    if len(spaces) < len(plugin.parameters):
        raise UsageError(f"{plugin.name}: a denoiser's parameter is annotated with Log(low, high)")
    return Denoiser(plugin.target, spaces[0] if spaces else None)


def run(spec: RunSpec, folder: Path, curve: Curve) -> dict[str, Any]:
    """The groups of a row; a classical denoiser is not trained, and the choice of its parameter counts as set-up.

    A network trains on the run's device; a classical one works on the CPU wherever the others train.
    """
    plugin = registry.find("denoisers", spec.objective.ref)
    device = _device(spec, plugin)
    setup, clock = (stopwatch.Stopwatch(device) for _ in range(2))
    setup.start()
    data_rng, rng = Rng(spec.seed, "data"), Rng(spec.seed, "eval", device)
    data = builders.planned_dataset(spec.dataset, data_rng).judged_on(spec.evaluation.split).to(device)
    trainer = DenoiserTrainer(spec, plugin, data, data_rng) if plugin.has_memory else None
    trained: Learned | None = None
    if trainer is None:
        denoiser, told = find_denoiser(spec.objective.ref), {}
    else:
        setup.stop()
        keeper = Keeper([spec], folder.parent)
        trained = trainer.train(keeper)
        denoiser = Denoiser(trained, None)
        told = {"train_wall": trainer.clock.wall, "train_cpu": trainer.clock.cpu, **keeper.said()}
        setup.start()
    by_samples = [] if trained is None else _of_samples(spec)
    levels = () if by_samples and not QUALITY.keys() & set(spec.evaluation.metrics) else LEVELS
    refused = {level: trained.refusal(in_units(data, level)) for level in levels} if trained is not None else {}
    picked = {level: chosen(denoiser, data, level, rng) for level in levels}
    setup.stop()
    clock.start()
    images = {
        level: Removed(None, refused[level])
        if refused.get(level)
        else Removed(_denoised(denoiser, data, level, rng, picked[level]))
        for level in levels
    }
    blind = {} if trained is None else {level: _blind(trained, data, level, rng) for level in levels}
    drawn = _samples(trained, data, spec, rng) if trained is not None and by_samples else {}
    metrics = _denoising("classical", images, picked, data) | _denoising("unaided", blind, picked, data)
    metrics |= evaluate({"ema": no_energy}, {"ema": drawn}, data, by_samples, rng)
    clock.stop()
    shown = {f"classical_{level}": found.images for level, found in images.items() if found.images is not None}
    save(folder, no_energy, drawn, data, rng, shown)
    time_of = told | {"eval_wall": clock.wall, "eval_cpu": clock.cpu, "setup_wall": setup.wall, "setup_cpu": setup.cpu}
    row: dict[str, Any] = {"status": "ok", "phase": "done", "last_step": 0, "metrics": metrics, "time": time_of}
    row["device"] = stopwatch.device_name(device)
    if trainer is None:
        return row
    work = {"steps": trainer.steps, "flops_train": trainer.work.scaled(trainer.steps)["flops"]}
    size = {"n_params": sum(w.numel() for w in trainer.weights)}
    memory = stopwatch.cuda_memory(device)
    return {**row, "last_step": trainer.steps, "work": work, "model": size, "memory": memory}


def _device(spec: RunSpec, plugin: registry.Plugin) -> torch.device:
    return builders.pick_device(spec.device if plugin.has_memory else "cpu")


def no_energy(x: Tensor) -> Tensor:
    """What stands in an energy's place; metrics of samples do not call it.

    Raises:
        TypeError: always.
    """
    raise TypeError("a denoiser has no energy")


def _of_samples(spec: RunSpec) -> list[str]:
    """The suite's metrics that look at samples alone."""
    return [ref for ref in spec.evaluation.metrics if "samples" in registry.find("metrics", ref).info.needs]


def _samples(trained: Learned, data: Data, spec: RunSpec, rng: Rng) -> dict[str, Tensor | str]:
    """Those of ancestral sampling, as the entries' own samplers' where the suite names samplers."""
    settings = spec.evaluation
    if settings.samplers and "own" not in settings.samplers:
        return {}
    drawn = or_reason(lambda: trained.samples(data, settings.samples, rng.stream("sampler own")))
    return {"own" if settings.samplers else "": drawn}


def _blind(trained: Learned, data: Data, level: int, rng: Rng) -> Removed:
    """What a network makes of noisy images at the level that is seen in each."""
    y = noisy(held_out(data), in_units(data, level), rng)
    sigmas = estimated_sigmas(y)
    reason = next(filter(None, map(trained.refusal, sigmas)), "")
    if reason:
        return Removed(None, reason)
    return Removed(torch.cat([trained(image, sigma) for image, sigma in zip(y.split(1), sigmas, strict=True)]))


def _denoising(
    method: str, images: dict[int, Removed], picked: dict[int, dict[str, float]], data: Data
) -> dict[str, Any]:
    """How near the denoised images of each level come to the clean ones, by metric."""
    found: dict[str, Any] = {}
    for name, per_image in QUALITY.items():
        info = registry.find("metrics", name).info
        for level, each in images.items():
            value = Estimate(None, reason=each.reason)
            if each.images is not None:
                estimate = judged(each.images, data, per_image)
                detail = {**estimate.detail, "parameters": picked[level]}
                value = Estimate(estimate.value, estimate.stderr, estimate.n, reason=estimate.reason, detail=detail)
            found[f"{name}.{method}_{level}"] = {"ema": described(value, info)}
    return found


def priced(spec: dict[str, Any], folder: Path, curve: Curve) -> dict[str, Any]:
    """`price` of a spec of plain values, for a child that imports what a run's child does."""
    return {"price": price(RunSpec.from_dict(spec))}


def price(spec: RunSpec) -> tuple[float, float, float]:
    """FLOPs of training, its seconds where it trains and those of the rest of `run`, from one step or a few calls."""
    plugin = registry.find("denoisers", spec.objective.ref)
    device = _device(spec, plugin)
    began = time.process_time()
    data_rng = Rng(spec.seed, "data")
    data = builders.planned_dataset(spec.dataset, data_rng).to(device)
    loading = time.process_time() - began
    if plugin.has_memory:
        trainer = DenoiserTrainer(spec, plugin, data, data_rng)
        trainer.step(0)  # the first one sets up what others use
        one = _seconds(lambda: trainer.step(1), device)
        learnt, drawn = Learned(trainer.energy, data.noise, trainer.law), Rng(0, "eval", device)
        drawing = _seconds(lambda: learnt.samples(data, FEW, drawn), device) / FEW if _of_samples(spec) else 0.0
        steps = trainer.steps if trainer.seconds is None else trainer.seconds / one
        return trainer.work.flops * steps, steps * one, loading + spec.evaluation.samples * drawing
    denoiser, rng = find_denoiser(spec.objective.ref), Rng(0, "eval")
    values = {} if denoiser.space is None else {denoiser.space[0]: math.sqrt(denoiser.space[1] * denoiser.space[2])}
    # what is imported is imported by the first choice
    first, again = (_seconds(lambda: chosen(denoiser, data, LEVELS[1], rng)) for _ in range(2))
    one = _seconds(lambda: _denoised(denoiser, data, LEVELS[1], rng, values))
    return 0.0, 0.0, loading + first + (len(LEVELS) - 1) * again + len(LEVELS) * one


def _seconds(call: Callable[[], object], device: torch.device = CPU) -> float:
    clock = stopwatch.Stopwatch(device)
    clock.start()
    call()
    clock.stop()
    return clock.seconds


def _denoised(denoiser: Denoiser, data: Data, level: int, rng: Rng, values: dict[str, float]) -> Tensor:
    sigma = in_units(data, level)
    return denoiser(noisy(held_out(data), sigma, rng), sigma, **values)


def chosen(denoiser: Denoiser, data: Data, level: int, rng: Rng) -> dict[str, float]:
    """The parameter's value that gives the highest mean PSNR on the validation images; {} where there is none."""
    if denoiser.space is None:
        return {}
    name, low, high = denoiser.space
    images, sigma = held_out(data, tuning=True), in_units(data, level)
    y = noisy(images, sigma, rng, purpose="tuning")
    span = data.value_range
    assert span is not None

    def quality(value: float) -> float:
        found = denoiser(y, sigma, **{name: value}).clamp(*span)
        return sum(psnr(images, found, span[1] - span[0]))

    steps = torch.linspace(math.log(low), math.log(high), CANDIDATES, dtype=torch.float64).exp().tolist()
    return {name: max(steps, key=quality)}
