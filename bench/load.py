"""Plug-ins by name or by path: objectives, data sets, metrics and networks are files, and nothing is registered."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import math
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from bench import arithmetic
from bench.calculus import Energy
from bench.declare import (
    Data,
    DatasetInfo,
    DenoiserInfo,
    Estimate,
    MetricFunction,
    MetricInfo,
    NetworkInfo,
    ObjectiveInfo,
)
from bench.errors import UsageError, suggest
from bench.local_scale import estimate_local_scale
from bench.rng import Rng
from bench.spaces import Parameter, StepSize, parameters, resolve

Kind = Literal["objectives", "datasets", "metrics", "networks", "denoisers"]
ROOT = Path(__file__).resolve().parent.parent
FOLDERS: dict[Kind, Path] = {
    "objectives": ROOT / "objectives",
    "datasets": ROOT / "datasets",
    "metrics": ROOT / "bench" / "metrics",
    "networks": ROOT / "bench" / "networks",
    "denoisers": ROOT / "bench" / "denoisers",
}
_DECLARATIONS: dict[Kind, type] = {
    "objectives": ObjectiveInfo,
    "datasets": DatasetInfo,
    "metrics": MetricInfo,
    "networks": NetworkInfo,
    "denoisers": DenoiserInfo,
}
WARN_ABOVE = 0.4


@dataclass(frozen=True)
class Plugin:
    """A declared function or class, found but not yet built.

    Attributes:
        info: its declaration.
        path: the file that holds it.
        parameters: its hyper-parameters with their search spaces and defaults.
        given: the values that the reference named.
    """

    kind: Kind
    info: Any
    target: Callable[..., Any]
    path: Path
    parameters: dict[str, Parameter]
    given: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.info.name)

    @property
    def has_memory(self) -> bool:
        """Whether it is a class, built on the training data, rather than a function."""
        return inspect.isclass(self.target)

    def resolve(self, **values: Any) -> dict[str, Any]:
        """Every hyper-parameter's value: from `values`, else from the reference, else the default.

        Raises:
            UsageError: if a name is unknown or a value lies outside its space.
        """
        values = {**self.given, **values}
        for name, parameter in self.parameters.items():
            value = values.get(name)
            checked = isinstance(parameter.space, StepSize) and parameter.space.checked
            if checked and isinstance(value, int | float) and value > 1:
                raise UsageError(
                    f"{self.name}: {name} must be at most 1, in units of the data's smallest local variance, because "
                    f"no energy holds such data under a larger Langevin step; got {value:g}; use {WARN_ABOVE:g} or less"
                )
        return resolve(self.name, self.parameters, values)


def names(kind: Kind) -> list[str]:
    """The plug-ins of a kind that lie in its folder, sorted."""
    return sorted(p.stem for p in FOLDERS[kind].glob("*.py") if not p.stem.startswith("_"))


def split_reference(ref: str) -> tuple[str, dict[str, Any]]:
    """('name', {'k': v}) from "name" or "name[k=v,...]"; a value is a Python literal, or else a word.

    Raises:
        UsageError: if the reference is not of that form.
    """
    match = re.fullmatch(r"([^\[\]]+)(?:\[(.*)\])?", ref.strip())
    if not match:
        raise UsageError(f"a reference is 'name', 'name[k=v,...]' or 'path.py[k=v,...]'; got '{ref}'")
    name, inside = match.group(1).strip(), match.group(2)
    given: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in (inside or "").split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not (key and equals and value):
            raise UsageError(f"a parameter is written k=v; got '{item}' in '{ref}'")
        try:
            given[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            given[key] = value
    return name, given


def find(kind: Kind, ref: str) -> Plugin:
    """The plug-in that a reference names.

    Raises:
        UsageError: if there is none, its file does not import, or it declares none or several of this kind.
    """
    name, given = split_reference(ref)
    if name.endswith(".py"):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise UsageError(f"a plug-in given by path must exist; there is no file '{name}'")
    elif name in names(kind):
        path = FOLDERS[kind] / f"{name}.py"
    else:
        raise suggest(kind.removesuffix("s").replace("dataset", "data set"), name, names(kind))
    module = _import(path)
    declared = [
        value
        for value in vars(module).values()
        if isinstance(getattr(value, "__bench__", None), _DECLARATIONS[kind]) and value.__module__ == module.__name__
    ]
    decorator = "@" + kind.removesuffix("s")
    if len(declared) != 1:
        found = "none" if not declared else ", ".join(d.__name__ for d in declared)
        raise UsageError(f"{path.name} must declare exactly one {decorator}(...); found {found}")
    target = declared[0]
    if getattr(target.__bench__, "energy", "static") == "noise" and "sigma_min" not in parameters(target):
        raise UsageError(
            f"{path.name}: an objective of a noise-conditional energy needs a parameter 'sigma_min', the noise level "
            "that its energy is evaluated at"
        )
    return Plugin(kind, target.__bench__, target, path, parameters(target), given)


def _import(path: Path) -> Any:
    # keyed by content age, so that an edited file is read anew
    key = f"_bench_plugin_{path.stem}_{abs(hash((str(path), path.stat().st_mtime_ns)))}"
    if key in sys.modules:
        return sys.modules[key]
    spec = importlib.util.spec_from_file_location(key, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[key]
        line = error.lineno if isinstance(error, SyntaxError) else _last_line(error, path)
        where = f"{path.name}:{line}" if line else path.name
        reason = str(error).splitlines()[0] if str(error) else ""
        raise UsageError(f"{where} does not import: {type(error).__name__}: {reason}") from error
    return module


def _last_line(error: BaseException, path: Path) -> int | None:
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)


class Objective(nn.Module):
    """An objective ready for use: (energy, x, rng) -> loss of batch shape.

    Attributes:
        info: the declaration (family, energy kind, minimiser, control, source, ...).
        hyper: the hyper-parameters as given, with `step_size` in units of `local_scale` squared.
        local_scale: the scale that was used, or None if no hyper-parameter needs one.
    """

    def __init__(
        self,
        plugin: Plugin,
        hyper: dict[str, Any],
        local_scale: float | None,
        x_train: Tensor,
        rng: Rng,
    ) -> None:
        super().__init__()
        self.info: ObjectiveInfo = plugin.info
        self.hyper = hyper
        self.local_scale = local_scale
        variance = 1.0 if local_scale is None else local_scale**2
        values = {k: v * variance if isinstance(plugin.parameters[k].space, StepSize) else v for k, v in hyper.items()}
        self.loss: Callable[..., Tensor] = (
            plugin.target(x_train, rng, **values) if plugin.has_memory else partial(plugin.target, **values)
        )
        # what a module needs of them it has kept
        self._sampler_hyper = {} if plugin.has_memory else values

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        """The loss of each example, (*batch,).

        Raises:
            ValueError: if the plug-in or the energy returns another shape.
        """
        loss = self.loss(energy, x, rng)
        batch = x.shape[: rng.batch_ndim]
        if loss.shape != batch:
            raise ValueError(
                f"{self.info.name} must return one loss per example, shape {tuple(batch)}; got {tuple(loss.shape)}; "
                "return it unreduced, and let the energy return one value per example (end a network with squeeze(-1))"
            )
        return loss

    @torch.no_grad()
    def sample(self, energy: Energy, x_like: Tensor, rng: Rng) -> Tensor | None:
        """Draws of the objective's own sampler, shaped as x_like and detached; None if it declares none.

        Args:
            energy: as in training: energy(x, sigma) where the objective is of a noise-conditional one.
            x_like: (*batch, *event); only its shape, dtype and device count.

        Raises:
            ValueError: if the sampler returns another shape.
        """
        if self.info.sampler is None:
            return None
        memory = [self.loss] if isinstance(self.loss, nn.Module) else []
        draws = self.info.sampler(*memory, energy, x_like, rng, **self._sampler_hyper)
        if draws.shape != x_like.shape:
            raise ValueError(
                f"the sampler of {self.info.name} must return draws of shape {tuple(x_like.shape)}; got "
                f"{tuple(draws.shape)}"
            )
        return draws.detach()

    def param_groups(self) -> list[dict[str, Any]]:
        """What the optimiser must train beside the energy; an adversary's group says `maximize=True`."""
        own = getattr(self.loss, "param_groups", None)
        if own is not None:
            return cast(list[dict[str, Any]], own())
        own_parameters = list(self.parameters())
        return [{"params": own_parameters}] if own_parameters else []


def objective(ref: str, x_train: Tensor, rng: Rng, *, local_scale: float | None = None, **hyper: Any) -> Objective:
    """The objective that `ref` names, built on the training data.

    Args:
        ref: "name", "name[k=v,...]", "path.py" or "path.py[k=v,...]".
        x_train: training examples (n, *event), or (S, n, *event) for a stack.
        rng: the stream that its own parameters and chains start from.
        local_scale: the data's standard deviation in its narrowest local direction; estimated from `x_train` where it
            is needed and not given.
        **hyper: hyper-parameters, which override those in `ref`.

    Raises:
        UsageError: if the plug-in or a parameter is not as it must be; above all if a checked `step_size` exceeds 1.
    """
    plugin = find("objectives", ref)
    limit = plugin.info.max_dim
    dim = math.prod(x_train.shape[rng.batch_ndim :])
    if limit is not None and dim > limit:
        raise UsageError(f"{plugin.name} needs events of at most {limit} dimensions; these have {dim}")
    steps = [p for p in plugin.parameters.values() if isinstance(p.space, StepSize)]
    if steps and local_scale is None:
        local_scale = estimate_local_scale(x_train.flatten(0, rng.batch_ndim - 1))
    if local_scale is not None and not (math.isfinite(local_scale) and local_scale > 0):
        raise UsageError(f"local_scale must be a positive number; got {local_scale}")
    try:
        resolved = plugin.resolve(**hyper)
    except UsageError as error:
        if steps and "must be at most 1" in str(error):
            raise UsageError(f"{error} (ε = {WARN_ABOVE * cast(float, local_scale) ** 2:.3g} here)") from None
        raise
    for step in steps:
        if cast(StepSize, step.space).checked and resolved[step.name] > WARN_ABOVE:
            warnings.warn(
                f"{plugin.name}: {step.name} = {resolved[step.name]:g} biases the chains; {WARN_ABOVE:g} or less keeps "
                "the stationary variance within a tenth of the data's",
                stacklevel=2,
            )
    return Objective(plugin, resolved, local_scale if steps else None, x_train, rng)


def dataset(ref: str, rng: Rng, **params: Any) -> Data:
    """The data set that `ref` names, drawn from `rng`.

    Raises:
        UsageError: if the plug-in or a parameter is not as it must be.
    """
    plugin = find("datasets", ref)
    data = plugin.target(rng, **plugin.resolve(**params))
    if not isinstance(data, Data):
        raise UsageError(f"data set {plugin.name} must return a bench.api.Data; got {type(data).__name__}")
    return data


@dataclass(frozen=True)
class Metric:
    """A metric ready for use: (energy, samples, data, rng) -> Estimate."""

    info: MetricInfo
    function: MetricFunction

    def __call__(self, energy: Energy, samples: Tensor, data: Data, rng: Rng) -> Estimate:
        """The value of a metric that has one.

        Raises:
            TypeError: if the plug-in returns anything but one `Estimate`.
        """
        estimate = self.function(energy, samples, data, rng)
        if not isinstance(estimate, Estimate):
            raise TypeError(f"metric {self.info.name} must return a bench.api.Estimate; got {type(estimate).__name__}")
        return estimate

    def all(self, energy: Energy, samples: Tensor, data: Data, rng: Rng) -> dict[str, Estimate]:
        """Every value by its column's name: the metric's own, or with `.name` for each of several.

        Raises:
            TypeError: if the plug-in returns neither one `Estimate` nor several by name.
        """
        found = self.function(energy, samples, data, rng)
        named = found if isinstance(found, dict) else {"": found}
        for estimate in named.values():
            if not isinstance(estimate, Estimate):
                raise TypeError(
                    f"metric {self.info.name} must return a bench.api.Estimate, or several by name; got "
                    f"{type(estimate).__name__}"
                )
        return {self.info.name + (name and f".{name}"): estimate for name, estimate in named.items()}


def metric(ref: str) -> Metric:
    """The metric that `ref` names.

    Raises:
        UsageError: if the plug-in or a parameter is not as it must be.
    """
    plugin = find("metrics", ref)
    return Metric(plugin.info, partial(plugin.target, **plugin.resolve()))


def network(
    ref: str,
    event_shape: tuple[int, ...],
    rng: Rng,
    *,
    conditional: bool = False,
    x_train: Tensor | None = None,
    **params: Any,
) -> nn.Module:
    """The energy network that `ref` names, with initial weights from `rng`; a stack of seeds gives a stack of networks.

    Args:
        event_shape: the shape of one example.
        conditional: whether it is called energy(x, sigma); the trunk is the same.
        x_train: training examples (n, *event), or (S, n, *event) for a stack, given to `calibrate` where the network
            has such a method: it sets what is not trained, such as the data's centre and scale.

    Raises:
        UsageError: if the plug-in or a parameter is not as it must be.
    """
    plugin = find("networks", ref)
    built = cast(nn.Module, plugin.target(event_shape, rng, conditional, **plugin.resolve(**params)))
    calibrate = getattr(built, "calibrate", None)
    if calibrate is not None and x_train is not None:
        calibrate(x_train)
    return built


def device(name: str) -> torch.device:
    """\"auto\" (CUDA where there is one), "cpu" or "cuda" as a device; CUDA in full float32 from then on.

    Raises:
        UsageError: if it is none of these, or CUDA is asked for where there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device must be auto, cpu or cuda; got '{name}'")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda is not available: torch sees no CUDA device here; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    arithmetic.full_on_gpu()
    return torch.device("cuda")
