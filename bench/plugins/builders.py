"""Objectives, data sets, metrics and networks, built from references."""

from __future__ import annotations

import hashlib
import math
import os
import re
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.common.errors import UsageError
from bench.common.gpus import VISIBLE, visible_gpus
from bench.common.machine_faults import LostDataError
from bench.common.references import split_reference
from bench.common.run_spec import Conditional, DatasetSpec
from bench.core import precision
from bench.core.data_types import Data, Estimate, MetricFunction
from bench.core.declarations import NO_AXES, MetricInfo
from bench.core.derivatives import Energy
from bench.core.rng import Rng
from bench.core.search_spaces import SIGMA_UNITS, Sigma, StepSize
from bench.data.local_scale import estimate_local_scale
from bench.plugins.objective import Objective
from bench.plugins.registry import WARN_ABOVE, Plugin, find


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
    lengths = any(isinstance(p.space, Sigma) for p in plugin.parameters.values())
    scaled = steps or (lengths and {**plugin.given, **hyper}.get(SIGMA_UNITS.name) != "data")
    if scaled and local_scale is None:
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
    return Objective(plugin, resolved, local_scale if scaled else None, x_train, rng)


def dataset(ref: str, rng: Rng, **params: Any) -> Data:
    """The data set that `ref` names, drawn from `rng`.

    The files that it declares are hashed before they are read and after; the hash is its `content` unless it gives one.

    Raises:
        UsageError: if the plug-in or a parameter is not as it must be, or a declared file is absent or changes; a
            `LostDataError` if its files cannot be read.
    """
    plugin = find("datasets", ref)
    resolved = plugin.resolve(**params)
    before = _read_files(plugin)
    try:
        data = plugin.target(rng, **resolved)
    except (UsageError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # somebody's own code or files; a person asked for it by name
        said = (str(error).splitlines() or [""])[0]
        kind = LostDataError if isinstance(error, OSError) else UsageError
        raise kind(f"data set {plugin.name} raised {type(error).__name__}: {said}; see {plugin.path}") from error
    if not isinstance(data, Data):
        raise UsageError(f"data set {plugin.name} must return a bench.api.Data; got {type(data).__name__}")
    for split in ("train", "valid", "test"):
        _check_examples(f"{split} of data set {plugin.name}", getattr(data, split), rng)
    if before != _read_files(plugin):
        raise UsageError(f"the files of data set {plugin.name} changed while it was read; run it again")
    return replace(data, content=before) if before and data.content is None else data


def _read_files(plugin: Plugin) -> str | None:
    """The hash of what lies in the files that a data set declares; None if it declares none."""
    found = hashlib.sha256()
    for name in plugin.info.files:
        path = plugin.path.parent / name
        if not path.is_file():
            raise UsageError(
                f"data set {plugin.name} declares the file '{name}', which must exist; there is no '{path}'"
            )
        found.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                found.update(piece)
    return found.hexdigest()[:16] if plugin.info.files else None


def content_of(ref: str, data: Data, **params: Any) -> str | None:
    """What a data set's numbers depend on beside its code: its `content`; of one of somebody's own without it, a draw.

    Such a one may read files that it does not declare. The draw is that of seed 0, whatever `data` was drawn from.
    """
    if data.content is not None or not split_reference(ref)[0].endswith(".py"):
        return data.content
    first = dataset(ref, Rng(0, "data"), **params)
    splits = (getattr(first, name).numpy() for name in ("train", "valid", "test"))
    return hashlib.sha256(b"".join(split.tobytes() for split in splits)).hexdigest()[:16]


def planned_dataset(about: DatasetSpec, rng: Rng) -> Data:
    """The data set of a planned run, drawn from rng.

    Raises:
        UsageError: if what it reads has changed since the plan, or it is not drawn from rng alone.
    """
    data = dataset(about.ref, rng, **about.params)
    content = content_of(about.ref, data, **about.params)
    if content != about.content:
        raise UsageError(
            f"a run must see the data it was planned with, {about.content}; {data.name} now has {content}: plan it "
            "again, or, if no file changed, draw everything from rng"
        )
    return data


def _check_examples(name: str, examples: object, rng: Rng) -> None:
    """Holds a split of a data set to what training takes: finite float32 numbers, one example at least.

    Raises:
        UsageError: if it is something else; the fault is the data's, not the objective's.
    """
    if not isinstance(examples, Tensor):
        raise UsageError(f"{name} must be a tensor; got {type(examples).__name__}: use torch.as_tensor(x).float()")
    if examples.dtype != torch.float32:
        raise UsageError(f"{name} must be of float32; got {str(examples.dtype).removeprefix('torch.')}: use .float()")
    if examples.ndim < rng.batch_ndim + 1 or not examples.shape[rng.batch_ndim - 1]:
        raise UsageError(f"{name} must have examples (n, *event), n at least 1; got shape {tuple(examples.shape)}")
    if wrong := int((~examples.isfinite()).sum()):
        raise UsageError(f"{name} must be finite; {wrong} of its {examples.numel()} numbers are not: clean the data")


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
    conditional: Conditional = False,
    x_train: Tensor | None = None,
    **params: Any,
) -> nn.Module:
    """The energy network that `ref` names, with initial weights from `rng`; a stack of seeds gives a stack of networks.

    Args:
        event_shape: the shape of one example.
        conditional: whether it is called energy(x, sigma), with a level an example or, by "axes", one a coordinate; the
            trunk is the same.
        x_train: training examples (n, *event), or (S, n, *event) for a stack, given to `calibrate` where the network
            has such a method: it sets what is not trained, such as the data's centre and scale.

    Raises:
        UsageError: if the plug-in or a parameter is not as it must be, or it takes no noise level a coordinate.
    """
    plugin = find("networks", ref)
    if conditional == "axes" and not plugin.info.axes:
        raise UsageError(f"network {plugin.name} {NO_AXES}")
    built = cast(nn.Module, plugin.target(event_shape, rng, conditional, **plugin.resolve(**params)))
    calibrate = getattr(built, "calibrate", None)
    if calibrate is not None and x_train is not None:
        calibrate(x_train)
    return built


def pick_device(name: str) -> torch.device:
    """\"auto\" (CUDA where there is one), "cpu" or "cuda" as a device; CUDA in full float32 from then on.

    "cuda:1" is the second GPU that is visible, which from then on is the only one.

    Raises:
        UsageError: if it is none of these, or CUDA is asked for where there is none, or not so many.
    """
    if re.fullmatch(r"cuda:[0-9]{1,3}", name):
        gpus = visible_gpus()
        number = int(name.partition(":")[2])
        if number >= len(gpus):
            found = f"there are {len(gpus)}, from cuda:0 on" if gpus else "there are none"
            raise UsageError(f"device {name} is not available: {found}; use another, or --device cpu")
        os.environ[VISIBLE] = gpus[number]
        name = "cuda"
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N; got '{name}'")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda is not available: torch sees no CUDA device here; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    precision.full_on_gpu()
    return torch.device("cuda")
