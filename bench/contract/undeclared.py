"""What a file that declares no plug-in was meant to be, by what its functions take."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from bench.common.errors import UsageError
from bench.plugins.registry import Kind

_TAKES: dict[tuple[str, ...], Kind] = {
    ("energy", "x", "rng"): "objectives",
    ("rng",): "datasets",
    ("energy", "samples", "data", "rng"): "metrics",
    ("y", "sigma"): "denoisers",
    ("event_shape", "rng", "conditional"): "networks",
}


def undeclared(path: Path) -> UsageError:
    """The error for such a file: which decorator stands before which function, or how to begin."""
    for name, taken in _functions(ast.parse(path.read_text(encoding="utf-8-sig"))):
        if kind := _TAKES.get(taken):
            decorator = f"@{kind.removesuffix('s')}(...)"
            return UsageError(
                f"{path.name} declares no plug-in; {name} takes ({', '.join(taken)}), as {_article(kind)} does: "
                f"put {decorator} from bench.api before it"
            )
    return UsageError(
        f"{path.name} declares no plug-in; put @objective, @dataset, @metric, @network or @denoiser (bench.api) "
        "before a function or class, or begin with: python -m bench new objective NAME"
    )


def _functions(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Functions and classes with what they take by position; a class by `forward`, then by its constructor."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, _taken(node)
        if isinstance(node, ast.ClassDef):
            methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
            yield from ((node.name, _taken(methods[m])[1:]) for m in ("forward", "__init__") if m in methods)


def _taken(function: ast.FunctionDef) -> tuple[str, ...]:
    return tuple(argument.arg for argument in (*function.args.posonlyargs, *function.args.args))


def _article(kind: Kind) -> str:
    one = kind.removesuffix("s").replace("dataset", "data set")
    return f"an {one}" if one[0] in "aeiou" else f"a {one}"
