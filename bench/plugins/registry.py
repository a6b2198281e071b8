"""Plug-ins by name or by path: objectives, data sets, metrics and networks are files, and nothing is registered."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import fingerprint
from bench.common.data_paths import names_data_path
from bench.common.errors import UsageError, suggest
from bench.common.paths import PACKAGE, expanded
from bench.common.plugin_source import FOLDERS as FOLDERS
from bench.common.plugin_source import Kind as Kind
from bench.common.plugin_source import names as names
from bench.common.references import split_reference
from bench.common.regular_files import require_regular
from bench.common.run_spec import Value
from bench.core.declarations import DatasetInfo, DenoiserInfo, MetricInfo, NetworkInfo, ObjectiveInfo
from bench.core.search_spaces import Parameter, StepSize, parameters, resolve
from bench.plugins.data_path import data_path
from bench.plugins.import_trial import is_supervised, trial
from bench.plugins.plain_network import plain_network

_DECLARATIONS: dict[Kind, type] = {
    "objectives": ObjectiveInfo,
    "datasets": DatasetInfo,
    "metrics": MetricInfo,
    "networks": NetworkInfo,
    "denoisers": DenoiserInfo,
}
WARN_ABOVE = 0.4
MOST_BYTES = 1 << 20  # of a plug-in's file
_DECLARE_ONLY = 'a plug-in only declares; put what runs under `if __name__ == "__main__":`'
_refusals: dict[str, str] = {}  # by what a file means: why it may not be imported, "" if it may


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
    given: Mapping[str, Value]

    @property
    def name(self) -> str:
        return str(self.info.name)

    @property
    def is_own(self) -> bool:
        """Whether it is a file of somebody's own, not one of the project's."""
        return self.path.parent not in FOLDERS.values() and not self.path.is_relative_to(PACKAGE)

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


def find(kind: Kind, ref: str) -> Plugin:
    """The plug-in that a reference names.

    Raises:
        UsageError: if there is none, its file does not import, or it declares none or several of this kind.
    """
    name, given = split_reference(ref)
    if kind == "datasets" and names_data_path(name):
        info, reader = data_path(name)
        return Plugin(kind, info, reader, reader.code, parameters(reader.read), given)
    if name.endswith(".py"):
        try:
            path = expanded(Path(name)).resolve()
            is_there = path.is_file()
        except (OSError, RuntimeError, ValueError):  # links in a circle, a name that no file can have
            is_there = False
        if not is_there:
            raise UsageError(f"a plug-in given by path must exist; there is no file '{name[:300]}'")
        require_regular(path, MOST_BYTES)
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
    plain = plain_network(module, path.name) if kind == "networks" and not declared else None
    if plain is not None:
        return Plugin(kind, plain.__bench__, plain, path, {}, given)
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
    # keyed by its age and by what it means, neighbours included, so that an edited file is read anew
    try:
        code = fingerprint.code(path)
    except (SyntaxError, ValueError):  # importing it says where
        code = ""
    key = f"_bench_plugin_{path.stem}_{fingerprint.digest(f'{path} {path.stat().st_mtime_ns} {code}')}"
    if key in sys.modules:
        return sys.modules[key]
    if path.parent not in FOLDERS.values() and not is_supervised():
        _try_first(key, path)
    return _load(key, path)


def _try_first(key: str, path: Path) -> None:
    """Imports somebody's own file in a child first: it may end its process, or never let go of it.

    Raises:
        UsageError: if it does, or does not import.
    """
    if key not in _refusals:
        _refusals[key] = trial(lambda: _load(key, path))
    if reason := _refusals[key]:
        said = reason if reason.startswith(path.name) else f"{path.name} does not import: {reason}; {_DECLARE_ONLY}"
        raise UsageError(said)


def _load(key: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(key, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    try:
        # standard output is the command's own
        with _neighbours(path.parent), contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[key]
        if isinstance(error, KeyboardInterrupt) and not is_supervised():
            raise  # a person's own
        line = error.lineno if isinstance(error, SyntaxError) else _last_line(error, path)
        where = f"{path.name}:{line}" if line else path.name
        reason = f": {str(error).splitlines()[0]}" if str(error) else ""
        way_out = "" if isinstance(error, Exception) else f"; {_DECLARE_ONLY}"
        raise UsageError(f"{where} does not import: {type(error).__name__}{reason}{way_out}") from error
    return module


@contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Modules beside a plug-in can be imported, and are not taken for those of the same name beside another."""
    if folder in FOLDERS.values():
        yield
        return
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(folder) and not name.startswith("_bench_plugin_"):
                del sys.modules[name]


def _last_line(error: BaseException, path: Path) -> int | None:
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)
