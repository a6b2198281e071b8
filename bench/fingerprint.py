"""What code a number depends on, as a hash that comments, docstrings and notes do not change."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_DECLARATIONS = ("objective", "dataset", "metric", "network")


def digest(text: str) -> str:
    """The first 16 hexadecimal digits of the text's sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code(path: Path) -> str:
    """The hash of a file and of every module of the project that it imports, directly or not."""
    return digest("".join(_meaning(p) for p in closure(path)))


def closure(path: Path) -> list[Path]:
    """The file and every module of the project that it imports, directly or not, sorted."""
    found: set[Path] = set()
    waiting = [path.resolve()]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(_imports(current))
    return sorted(found)


def _imports(path: Path) -> tuple[Path, ...]:
    return _imports_of(path, path.stat().st_mtime_ns)


@cache  # by age: a suite asks for the same few files hundreds of times
def _imports_of(path: Path, _modified: int) -> tuple[Path, ...]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = [ROOT.joinpath(*m.split(".")).with_suffix(".py") for m in modules if m.split(".")[0] == "bench"]
    return tuple(f for f in files if f.is_file())


class _WithoutWords(ast.NodeTransformer):
    """Drops docstrings and the declarations of plug-ins: notes change no number, and the rest is in the spec."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = [d for d in node.decorator_list if not _is_declaration(d)]
        return node


def _is_declaration(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _DECLARATIONS


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _meaning(path: Path) -> str:
    return _meaning_of(path, path.stat().st_mtime_ns)


@cache
def _meaning_of(path: Path, _modified: int) -> str:
    return ast.dump(_WithoutWords().visit(ast.parse(path.read_text())))
