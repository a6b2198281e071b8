"""The contract: what `python -m bench check PATH` holds a plug-in to, before anyone trusts its numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from bench import check_objective, classical, extractor, load, supervised
from bench.calculus import score
from bench.data_files import AbsentDataError
from bench.declare import Data, Estimate, Grid
from bench.errors import UsageError, suggest
from bench.exact import exact_data, noisy_points
from bench.quadrature import MASS_BOUND, evaluate, tabulate_density
from bench.rng import Rng
from bench.rules import Broken, Rule, agree, other_global_seed, require

STANDARD_ERRORS = 4.5  # of about ten comparisons a data set
SCORED = 64
DATA_SEEDS = (4, 2)


@dataclass(frozen=True)
class Finding:
    """One rule, whether the plug-in keeps it, and what was seen."""

    rule: str
    passed: bool
    detail: str


def check(ref: str) -> list[Finding]:
    """Holds one plug-in, by name or by path, to every rule of its kind.

    Raises:
        UsageError: if there is no such plug-in, its file does not import, or a data set's files are not here.
    """
    plugin = _find(ref)
    torch_state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are small
    _solo.cache_clear()  # the file may have been edited
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a step size that is warned about is not against the rules
        findings = [_held(name, rule, plugin, ref) for name, rule in RULES[plugin.kind].items()]
    torch.random.set_rng_state(torch_state)
    torch.set_num_threads(threads)
    return findings


def _held(name: str, rule: Rule, plugin: load.Plugin, ref: str) -> Finding:
    try:
        return Finding(name, True, rule(plugin, ref))
    except Broken as broken:
        return Finding(name, False, str(broken))
    except AbsentDataError:
        raise
    except Exception as error:  # a plug-in may raise anything, and that is a finding
        return Finding(name, False, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def _find(ref: str) -> load.Plugin:
    name = load.split_reference(ref)[0]
    if not name.endswith(".py"):
        for kind in load.FOLDERS:
            if name in load.names(kind):
                return load.find(kind, ref)
        raise suggest("plug-in", name, [n for kind in load.FOLDERS for n in load.names(kind)])
    errors = []
    for kind in load.FOLDERS:
        try:
            return load.find(kind, ref)
        except UsageError as error:
            errors.append(error)
    # of a file that declares two of a kind, "found none" of the other kinds says nothing
    raise next((e for e in errors if "found none" not in str(e)), errors[0])


@cache
def _solo(ref: str, seed: int) -> Data:
    return load.dataset(ref, Rng(seed, "data"))


def _private_data(plugin: load.Plugin, ref: str) -> str:
    first, *others = DATA_SEEDS
    again = other_global_seed(1, lambda: load.dataset(ref, Rng(first, "data")))
    same = torch.equal(again.train, _solo(ref, first).train)
    require(same, "another global seed gives other examples; draw everything from rng")
    other = _solo(ref, others[0]).train
    require(not torch.equal(again.train, other), f"seeds {DATA_SEEDS} give the same examples")
    return "rng alone decides the examples"


def _splits(plugin: load.Plugin, ref: str) -> str:
    data = _solo(ref, DATA_SEEDS[0])
    parts = {name: getattr(data, name) for name in ("train", "valid", "test")}
    for name, x in parts.items():
        require(x.is_floating_point() and bool(x.isfinite().all()), f"{name} is not made of finite numbers")
        require(x.shape[1:] == data.train.shape[1:], f"{name} has events {tuple(x.shape[1:])}, train others")
    # as bytes, because tuples of a million numbers fill the memory; + 0 makes -0 and 0 alike
    rows = {name: {row.tobytes() for row in (x.flatten(1) + 0.0).numpy()} for name, x in parts.items()}
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        require(not rows[a] & rows[b], f"{a} and {b} share examples")
    sizes = ", ".join(f"{len(x)} to {name}" for name, x in parts.items())
    return f"events {tuple(data.train.shape[1:])}; {sizes}; none in two parts"


def _stacked_data(plugin: load.Plugin, ref: str) -> str:
    stack = load.dataset(ref, Rng(DATA_SEEDS, "data"))
    for i, seed in enumerate(DATA_SEEDS):
        alone = _solo(ref, seed)
        for name in ("train", "valid", "test"):
            same = torch.equal(getattr(stack, name)[i], getattr(alone, name))
            require(same, f"{name} of seed {seed} differs between a stack and a run of its own")
    return "seed by seed to the bit"


def _power(x: Tensor, axis: int, exponent: int) -> Tensor:
    return x[..., axis] ** exponent


def _density(plugin: load.Plugin, ref: str) -> str:
    data = _solo(ref, DATA_SEEDS[0])
    if data.grid is None or data.log_density is None:
        return "none declared"
    law = tabulate_density(data.log_density, data.grid)
    mass = math.exp(law.log_z)
    require(abs(mass - 1) <= MASS_BOUND, f"the density integrates to {mass:.5f} over the grid, not to 1")
    seen = torch.cat([data.train, data.valid, data.test]).double()
    with torch.no_grad():
        views: dict[str, Callable[[Tensor], Tensor]] = {"log p": data.log_density}
        for i in range(len(data.grid.low)):
            views[f"x{i}"] = partial(_power, axis=i, exponent=1)
            views[f"x{i}²"] = partial(_power, axis=i, exponent=2)
        worst, where = 0.0, ""
        for name, view in views.items():
            values = view(seen)
            truth = law.expectation(evaluate(view, data.grid))
            off = abs(float(values.mean()) - truth) / (float(values.std()) / len(values) ** 0.5)
            worst, where = max((worst, where), (off, name))
    require(
        worst <= STANDARD_ERRORS, f"the examples' mean of {where} is {worst:.1f} standard errors from the density's"
    )
    if data.score is not None:
        points = seen[:SCORED]
        truth_score = score(lambda x: -data.log_density(x), points)  # type: ignore[misc]
        require(agree(data.score(points), truth_score, 1e-4), "score is not the gradient of log_density")
    return f"integrates to {mass:.5f}; the examples agree within {worst:.1f} standard errors"


def _image_extractor(plugin: load.Plugin, ref: str) -> str:
    data = _solo(ref, DATA_SEEDS[0])
    if data.extractor is None:
        return "none declared"
    require(data.value_range is not None, "an extractor sees images in a range; declare value_range")
    takes, event = extractor.load(data.extractor).network.event, tuple(data.train.shape[1:])
    require(takes == event, f"extractor {data.extractor} takes images {takes}; these are {event}")
    return f"{data.extractor} takes images {event}"


def _bed() -> Data:
    """Two Gaussians in the plane with all that a data set of points can declare."""
    half = 5.0
    mixture = noisy_points(torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64), 0.4)
    grid = Grid((-half, -half), (half, half))
    return exact_data("two Gaussians", Rng(0, "data"), (256, 256, 512), mixture, grid=grid, local_scale=0.4)


@cache
def _images() -> Data:
    return load.dataset("digits[n_train=300,n_valid=60,n_test=60]", Rng(0, "data"))


def _bed_for(plugin: load.Plugin) -> Data:
    """Two Gaussians, or handwritten digits where a metric needs what only images have."""
    return _bed() if plugin.info.needs <= _bed().provides | {"samples"} else _images()


def _measure(plugin: load.Plugin, ref: str, shift: float) -> dict[str, Estimate]:
    data = _bed_for(plugin)
    precision, centre = 1 / float(data.train.var()), data.train.mean(0)

    def energy(x: Tensor) -> Tensor:
        if data.log_density is None:
            return shift + 0.5 * precision * (x - centre).flatten(1).square().sum(-1)
        return shift - 0.8 * data.log_density(x)

    fresh = data.test if data.sample is None else data.sample(300, Rng(1))
    return load.metric(ref).all(energy, fresh * 1.1, data, Rng(0, "eval"))


def _lacks(plugin: load.Plugin) -> str:
    missing = plugin.info.needs - {f.name for f in fields(Data)} - {"samples"}
    require(not missing, f"needs {', '.join(sorted(missing))}, which no data set can provide")
    absent = plugin.info.needs - _bed_for(plugin).provides - {"samples"}
    return f"not run: needs {', '.join(sorted(absent))}" if absent else ""


def _estimate(plugin: load.Plugin, ref: str) -> str:
    if lacks := _lacks(plugin):
        return lacks
    found = _measure(plugin, ref, 0.0)
    values = {name: e.value for name, e in found.items() if e.value is not None}
    where = _bed_for(plugin).name
    require(bool(values), f"no value on {where}: {next(iter(found.values())).reason or 'and no reason given'}")
    for name, value in values.items():
        require(math.isfinite(value), f"the value of {name} is {value}")
    return ", ".join(f"{value:.4g}" for value in values.values()) + f" {plugin.info.unit} on {where}"


def _without_zero(plugin: load.Plugin, ref: str) -> str:
    if lacks := _lacks(plugin):
        return lacks
    before, after = (_measure(plugin, ref, shift) for shift in (0.0, 7.0))
    for name, estimate in before.items():
        a, b = estimate.value, after[name].value
        require((a is None) == (b is None), f"{name} has a value only under one of two constants in the energy")
        if a is not None and b is not None:
            require(abs(a - b) <= 1e-4 * max(1.0, abs(a)), f"{a:.6g} becomes {b:.6g} when 7 is added to the energy")
    return "unchanged when a constant is added to the energy"


def _repeatable(plugin: load.Plugin, ref: str) -> str:
    if lacks := _lacks(plugin):
        return lacks

    def values() -> dict[str, float | None]:
        return {name: estimate.value for name, estimate in _measure(plugin, ref, 0.0).items()}

    a, b = (other_global_seed(k, values) for k in range(2))
    require(a == b, f"{a} and {b} under two global seeds; draw everything from rng")
    return "rng alone decides the value"


def _event(plugin: load.Plugin) -> tuple[int, ...]:
    return (1, 8, 8) if plugin.info.event == "image" else (3,)


def _network_stack(plugin: load.Plugin, ref: str) -> str:
    event = _event(plugin)
    for conditional in (False, True):
        x = Rng([0, 1]).normal((2, 5, *event), torch.float64)
        stack = load.network(ref, event, Rng([4, 2], "init"), conditional=conditional, x_train=x).double()
        condition = [torch.full((2, 5), 0.3, dtype=torch.float64)] if conditional else []
        energies = stack(x, *condition)
        require(energies.shape == (2, 5), f"energies have shape {tuple(energies.shape)}, not (2, 5)")
        for i, seed in enumerate((4, 2)):
            alone = load.network(ref, event, Rng(seed, "init"), conditional=conditional, x_train=x[i]).double()
            require(
                agree(energies[i], alone(x[i], *(c[i] for c in condition)), 1e-10),
                f"the energies of seed {seed} differ between a stack and a network of its own",
            )
    return "seed by seed, static and conditional"


def _network_gradient(plugin: load.Plugin, ref: str) -> str:
    event = _event(plugin)
    network = load.network(ref, event, Rng(0, "init"))
    x = Rng(0).normal((5, *event)).requires_grad_()
    (slope,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    require(bool(slope.isfinite().all()) and bool(slope.any()), "the score is zero or not finite")
    seen = [p.grad for p in network.parameters() if p.grad is not None]
    require(bool(seen) and all(bool(g.isfinite().all()) for g in seen), "the score's gradient is not finite")
    return "the score and its gradient by the weights are finite"


def _network_condition(plugin: load.Plugin, ref: str) -> str:
    event = _event(plugin)
    network = load.network(ref, event, Rng(0, "init"), conditional=True)
    x = Rng(0).normal((5, *event))
    low, high = (network(x, torch.full((5,), sigma)) for sigma in (0.1, 1.0))
    require(bool(low.isfinite().all()) and not torch.equal(low, high), "sigma makes no difference to the energy")
    return "energy(x, sigma) depends on sigma"


def _network_private(plugin: load.Plugin, ref: str) -> str:
    def weights() -> list[Tensor]:
        return list(load.network(ref, _event(plugin), Rng(0, "init")).parameters())

    a, b = (other_global_seed(k, weights) for k in range(2))
    require(all(torch.equal(p, q) for p, q in zip(a, b, strict=True)), "the global seed decides initial weights")
    return "rng alone decides the initial weights"


def _ready(plugin: load.Plugin, ref: str, channels: int = 1) -> Callable[[Tensor, float], Tensor]:
    """A function as it is; a network untrained."""
    if not plugin.has_memory:
        return classical.find_denoiser(ref)
    network = plugin.target((channels, 24, 20), Rng(0, "init"), **plugin.resolve())
    return supervised.Learned(network, 0.0)


def _denoiser_shape(plugin: load.Plugin, ref: str) -> str:
    for channels in (1, 3):
        y = Rng(0).uniform((2, channels, 24, 20)) + 0.1 * Rng(1).normal((2, channels, 24, 20))
        images = _ready(plugin, ref, channels)(y, 0.1)
        require(bool(images.isfinite().all()), f"what it makes of {channels} channels is not finite")
    return "finite images of the shape that they came in, grey and in colour"


def _denoiser_flat(plugin: load.Plugin, ref: str) -> str:
    if plugin.has_memory:
        return "not run: it has to be trained first"
    flat = torch.full((1, 1, 24, 20), 0.25)
    change = float((classical.find_denoiser(ref)(flat, 0.1) - flat).abs().max())
    require(change <= 0.02, f"a flat image is changed by {change:.3g}")
    return "a flat image stays flat"


def _denoiser_private(plugin: load.Plugin, ref: str) -> str:
    y = Rng(0).normal((1, 1, 24, 20))
    a, b = (other_global_seed(k, lambda: _ready(plugin, ref)(y, 0.5)) for k in range(2))
    require(torch.equal(a, b), "two calls on one image differ")
    return "the image alone decides"


RULES: dict[load.Kind, dict[str, Any]] = {
    "objectives": check_objective.RULES,
    "datasets": {
        "splits": _splits,
        "private randomness": _private_data,
        "stack equals solo": _stacked_data,
        "density": _density,
        "extractor": _image_extractor,
    },
    "metrics": {"estimate": _estimate, "energy's zero": _without_zero, "private randomness": _repeatable},
    "networks": {
        "gradient": _network_gradient,
        "conditional": _network_condition,
        "stack equals solo": _network_stack,
        "private randomness": _network_private,
    },
    "denoisers": {"shape": _denoiser_shape, "flat image": _denoiser_flat, "no randomness": _denoiser_private},
}
