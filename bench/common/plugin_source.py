"""Plug-ins read from their source, without importing them and so without torch: names, labels, first lines."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bench.common import paths
from bench.common.errors import UsageError

Kind = Literal["objectives", "datasets", "metrics", "networks", "denoisers"]
FOLDERS: dict[Kind, Path] = {
    "objectives": paths.OBJECTIVES,
    "datasets": paths.DATASETS,
    "metrics": paths.PACKAGE / "metrics",
    "networks": paths.PACKAGE / "networks",
    "denoisers": paths.PACKAGE / "denoisers",
}
_Declared = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Summary:
    """What a listing shows of a plug-in.

    Attributes:
        name: its file's name.
        label: its short name, "{parameter}" filled in with the default; its name if it declares none.
        family: of an objective; else empty.
        first_line: of its docstring; for an objective, the formula.
    """

    name: str
    label: str
    family: str
    first_line: str


def names(kind: Kind) -> list[str]:
    """The plug-ins of a kind that lie in its folder, sorted.

    Raises:
        UsageError: if the folder is missing or holds none.
    """
    folder = FOLDERS[kind]
    found = sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))
    if not found:
        raise UsageError(
            f"No {kind} in '{folder}'; the installation is incomplete: run pip install --force-reinstall ebm-bench, "
            "or pip install -e . in a checkout."
        )
    return found


def summaries(kind: Kind) -> list[Summary]:
    """Every plug-in of a kind, sorted by name.

    Raises:
        UsageError: if the folder is missing or empty, or a file in it is not valid Python.
    """
    return [summary(kind, FOLDERS[kind] / f"{name}.py") for name in names(kind)]


def summary(kind: Kind, path: Path) -> Summary:
    """One plug-in.

    Raises:
        UsageError: if the file is not valid Python.
    """
    declared, keywords = _declaration(kind, path)
    label = _text(keywords.get("label"))
    return Summary(
        path.stem,
        fill_label(label, _defaults(declared)) if label else path.stem,
        _text(keywords.get("family")),
        ((ast.get_docstring(declared) if declared else None) or "undocumented").splitlines()[0],
    )


def fill_label(label: str, values: Mapping[str, Any]) -> str:
    """A label such as "CD-{steps}" with the values of its parameters; as it is if it names an unknown one."""
    try:
        return label.format_map(values)
    except (KeyError, ValueError, IndexError):
        return label


@cache
def declared_label(kind: Kind, name: str) -> str:
    """The label that a plug-in of the project declares, nothing filled in; "" if there is no such plug-in or label."""
    path = FOLDERS[kind] / f"{name}.py"
    return _text(_declaration(kind, path)[1].get("label")) if path.is_file() else ""


@cache
def declared_needs(name: str) -> frozenset[str]:
    """What a metric of the project declares that a data set must provide."""
    value = _declaration("metrics", FOLDERS["metrics"] / f"{name}.py")[1].get("needs")
    return frozenset(_text(item) for item in value.elts) if isinstance(value, ast.Set) else frozenset()


def _declaration(kind: Kind, path: Path) -> tuple[_Declared | None, dict[str, ast.expr]]:
    """The decorated function or class, and the keywords of its decorator."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise UsageError(f"{path}{f':{line}' if line else ''} is not valid Python: {error}") from None
    for node in tree.body:
        if isinstance(node, _Declared):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and _last_name(decorator.func) == kind.removesuffix("s"):
                    return node, {k.arg: k.value for k in decorator.keywords if k.arg}
    return None, {}


def _last_name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _text(value: ast.expr | None) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _defaults(declared: _Declared | None) -> dict[str, Any]:
    """The keyword-only parameters whose defaults are literals; of a class, those of its constructor."""
    if isinstance(declared, ast.ClassDef):
        constructors = (n for n in declared.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
        declared = next(constructors, None)
    if declared is None:
        return {}
    pairs = zip(declared.args.kwonlyargs, declared.args.kw_defaults, strict=True)
    return {parameter.arg: default.value for parameter, default in pairs if isinstance(default, ast.Constant)}
