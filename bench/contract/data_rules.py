"""What `check` holds a data set to."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from bench.contract.rule import Rule, agree, other_global_seed, require
from bench.core.data_types import Data
from bench.core.derivatives import score
from bench.core.quadrature import MASS_BOUND, evaluate, tabulate_density
from bench.core.rng import Rng
from bench.evaluation import feature_extractor
from bench.plugins import builders, registry

STANDARD_ERRORS = 4.5  # of about ten comparisons a data set
SCORED = 64
DATA_SEEDS = (4, 2)


@cache
def solo_data(ref: str, seed: int) -> Data:
    """The data set as one seed sees it."""
    return builders.dataset(ref, Rng(seed, "data"))


def _private_data(plugin: registry.Plugin, ref: str) -> str:
    first, *others = DATA_SEEDS
    again = other_global_seed(1, lambda: builders.dataset(ref, Rng(first, "data")))
    same = torch.equal(again.train, solo_data(ref, first).train)
    require(same, "another global seed gives other examples; draw everything from rng")
    other = solo_data(ref, others[0]).train
    if plugin.info.fixed:
        require(torch.equal(again.train, other), f"declares fixed=True, yet seeds {DATA_SEEDS} give other examples")
        return "every seed sees the same examples, as declared"
    same_data = f"seeds {DATA_SEEDS} give the same examples; draw them from rng, or declare @dataset(fixed=True)"
    require(not torch.equal(again.train, other), same_data)
    return "rng alone decides the examples"


def _splits(plugin: registry.Plugin, ref: str) -> str:
    data = solo_data(ref, DATA_SEEDS[0])
    parts = {name: getattr(data, name) for name in ("train", "valid", "test")}
    for name, x in parts.items():
        require(x.is_floating_point() and bool(x.isfinite().all()), f"{name} is not made of finite numbers")
        require(x.shape[1:] == data.train.shape[1:], f"{name} has events {tuple(x.shape[1:])}, train others")
    # as bytes, because tuples of a million numbers fill the memory; + 0 makes -0 and 0 alike
    rows = {name: {row.tobytes() for row in (x.flatten(1) + 0.0).numpy()} for name, x in parts.items()}
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        require(not rows[a] & rows[b], f"{a} and {b} share examples")
    sizes = ", ".join(f"{len(x)} to {name}" for name, x in parts.items())
    scale = f"; local scale {data.local_scale:.3g}" if data.local_scale is not None else ""
    return f"events {tuple(data.train.shape[1:])}; {sizes}; none in two parts{scale}"


def _stacked_data(plugin: registry.Plugin, ref: str) -> str:
    stack = builders.dataset(ref, Rng(DATA_SEEDS, "data"))
    for i, seed in enumerate(DATA_SEEDS):
        alone = solo_data(ref, seed)
        for name in ("train", "valid", "test"):
            same = torch.equal(getattr(stack, name)[i], getattr(alone, name))
            require(same, f"{name} of seed {seed} differs between a stack and a run of its own")
    return "seed by seed to the bit"


def _power(x: Tensor, axis: int, exponent: int) -> Tensor:
    return x[..., axis] ** exponent


def _density(plugin: registry.Plugin, ref: str) -> str:
    data = solo_data(ref, DATA_SEEDS[0])
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


def _image_extractor(plugin: registry.Plugin, ref: str) -> str:
    data = solo_data(ref, DATA_SEEDS[0])
    if data.extractor is None:
        return "none declared"
    require(data.value_range is not None, "an extractor sees images in a range; declare value_range")
    takes, event = feature_extractor.load(data.extractor).network.event, tuple(data.train.shape[1:])
    require(takes == event, f"extractor {data.extractor} takes images {takes}; these are {event}")
    return f"{data.extractor} takes images {event}"


_opened: list[str] | None = None  # while a data set is drawn under watch
_watched = 0  # the thread that draws it; others of this process have files of their own


def _note_opened(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open" or _opened is None or threading.get_ident() != _watched:
        return
    if isinstance(arguments[0], str | os.PathLike):
        _opened.append(os.fspath(arguments[0]))


@cache
def _watch_files() -> None:
    sys.addaudithook(_note_opened)  # for good: Python has no way to remove one


def _files_read(ref: str) -> set[Path]:
    """The files that Python opens while the data set is drawn, less its code and what is installed."""
    global _opened, _watched
    _watch_files()
    _opened, _watched = [], threading.get_ident()
    try:
        builders.dataset(ref, Rng(DATA_SEEDS[0], "data"))
        found = {Path(name).resolve() for name in _opened}
    finally:
        _opened = None
    aside = tuple(
        Path(name).resolve() for name in {sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", "/usr/share/zoneinfo"}
    )
    return {
        path
        for path in found
        if path.is_file() and path.suffix not in (".py", ".pyc") and not any(path.is_relative_to(a) for a in aside)
    }


def _identity(plugin: registry.Plugin, ref: str) -> str:
    declared = {(plugin.path.parent / name).resolve() for name in plugin.info.files}
    read = _files_read(ref)
    if not declared and solo_data(ref, DATA_SEEDS[0]).content is not None:
        return "its content is hashed"
    if unknown := sorted(path.name for path in read - declared):
        listed = ", ".join(f'"{name}"' for name in unknown)
        require(False, f"reads {', '.join(unknown)}, which may change unseen: declare @dataset(files=({listed},))")
    return f"hashes {', '.join(plugin.info.files)}" if declared else "reads no file"


RULES: dict[str, Rule] = {
    "identity": _identity,
    "splits": _splits,
    "private randomness": _private_data,
    "stack equals solo": _stacked_data,
    "density": _density,
    "extractor": _image_extractor,
}
