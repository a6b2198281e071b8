"""What code a number depends on, as a hash.

The unit is a definition: a function, a class or an assignment at the top of a module. Starting from a file, every name
that a definition uses is resolved to the definition behind it, through imports, packages and re-exports, and followed.
The hash is taken over what these definitions mean. Comments, docstrings, the texts of errors, the path of a file and
the place of a definition within it do not change it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeGuard

from bench.common.paths import ROOT

PACKAGE = "bench"
_DECLARATIONS = ("objective", "dataset", "metric", "network", "denoiser")


def digest(text: str) -> str:
    """The first 16 hexadecimal digits of the text's sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code(path: Path, root: Path = ROOT) -> str:
    """The hash of what a file's definitions mean, and of all that they use, directly or not.

    Args:
        path: a module of the project or a plug-in.
        root: the folder in which the project's package lies.
    """
    return digest("".join(sorted({_wired(d, root) for d in definitions(path, root)})))


def closure(path: Path, root: Path = ROOT) -> list[Path]:
    """The files in which the definitions lie that a file's own use, directly or not, itself included; sorted."""
    return sorted({path.resolve(), *(d.path for d in definitions(path, root))})


def definitions(path: Path, root: Path = ROOT) -> set[Definition]:
    """The definitions of a file and all that they use, directly or not."""
    waiting = list(_read(path.resolve()).definitions.values())
    found: set[Definition] = set()
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += [used for _, used in _uses(current, root)]
    return found


@dataclass(frozen=True)
class Definition:
    """A top-level statement that is no import.

    Attributes:
        name: what it defines; for a statement that defines nothing, such as a call, its place among these.
        meaning: its syntax tree without words.
        loads: the names that it uses, each with the attribute that is taken of it, or "".
        imports: the names that are imported inside it.
    """

    path: Path
    name: str
    meaning: str = field(repr=False)
    loads: frozenset[tuple[str, str]] = field(repr=False)
    imports: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True)
class _Module:
    """A file's definitions by name, and what its imports bind: "package.module:name", or "package.module:"."""

    definitions: Mapping[str, Definition]
    imports: Mapping[str, str]

    @property
    def effects(self) -> list[Definition]:
        """Statements that run whenever the module is imported, and define nothing."""
        return [d for name, d in self.definitions.items() if name.startswith("<")]


def _wired(definition: Definition, root: Path) -> str:
    """What a definition means, with what each of its names stands for: which of two of one name tells them apart."""
    used = sorted(f"{name}={digest(target.meaning)}" for name, target in _uses(definition, root))
    imports = {**_read(definition.path).imports, **dict(definition.imports)}
    names = {name for name, _ in definition.loads}
    outside = sorted(f"{n}={imports[n]}" for n in names & imports.keys() if not _is_own(imports[n], definition, root))
    return digest("\n".join([definition.meaning, *used, *outside]))


def _uses(definition: Definition, root: Path) -> Iterator[tuple[str, Definition]]:
    """The definitions that one uses directly, by the names that it uses for them."""
    module = _read(definition.path)
    for effect in module.effects:
        yield "", effect
    imports = {**module.imports, **dict(definition.imports)}
    for name, attribute in definition.loads:
        if name in imports:
            found = _imported(imports[name], attribute, definition.path, root)
        else:
            found = [module.definitions[name]] if name in module.definitions else []
        for target in found:
            yield f"{name}.{attribute}" if attribute else name, target


def _imported(origin: str, attribute: str, importer: Path, root: Path) -> list[Definition]:
    """The definitions behind an imported name, or behind an attribute of an imported module."""
    module, _, name = origin.partition(":")
    submodule = _file(f"{module}.{name}", importer, root) if name else None
    if submodule is None and name:
        path = _file(module, importer, root)
        return _named(path, name, root) if path else []
    path = submodule or _file(module, importer, root)
    if path is None:
        return []
    # a module that is handed around whole may be used whole
    return _named(path, attribute, root) if attribute else list(_read(path).definitions.values())


def _named(path: Path, name: str, root: Path) -> list[Definition]:
    """The definition of that name in a file, or behind the import that the file has it from."""
    module = _read(path)
    if name in module.definitions:
        return [module.definitions[name]]
    if name in module.imports:
        return [*module.effects, *_imported(module.imports[name], "", path, root)]
    # `package.module` without an import of its own: loaded by another
    inside = path.parent / f"{name}.py"
    return list(_read(inside).definitions.values()) if path.name == "__init__.py" and inside.is_file() else []


def _is_own(origin: str, definition: Definition, root: Path) -> bool:
    module, _, name = origin.partition(":")
    return any(_file(m, definition.path, root) for m in (module, f"{module}.{name}"))


def _file(module: str, importer: Path, root: Path) -> Path | None:
    """The file of a module of the project, or of one that lies beside a plug-in; None for what is installed."""
    own = module.partition(".")[0] == PACKAGE
    if not own and importer.is_relative_to(root / PACKAGE):
        return None
    base = (root if own else _top(importer)).joinpath(*module.split("."))
    return next((p.resolve() for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _top(path: Path) -> Path:
    """The folder from which a file's absolute imports start: the first above it that is no package."""
    return next(folder for folder in path.parents if not (folder / "__init__.py").is_file())


def _read(path: Path) -> _Module:
    return _read_at(path, path.stat().st_mtime_ns)


@cache  # by age: a suite asks for the same few files hundreds of times
def _read_at(path: Path, _modified: int) -> _Module:
    tree = ast.parse(path.read_bytes())
    definitions: dict[str, Definition] = {}
    imports: dict[str, str] = {}
    for statement in tree.body:
        bound = dict(_bound(statement, path))
        names = _defined(statement)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports |= bound
            continue
        if _is_text(statement) or names == ["__all__"]:
            continue
        if isinstance(statement, ast.If | ast.Try | ast.With):
            imports |= bound  # such as those for types alone
        reduced = _WithoutWords()
        bare = reduced.visit(statement)
        if all(isinstance(node, ast.Pass) for node in [*getattr(bare, "body", [bare]), *getattr(bare, "orelse", [])]):
            continue
        loads = {load for node in (bare, *reduced.declared) for load in _loads(node)}
        effect = f"<{sum(name.startswith('<') for name in definitions)}>"
        for name in names or [effect]:
            before = definitions.get(name)
            definitions[name] = Definition(
                path,
                name,
                (before.meaning if before else "") + ast.dump(bare),
                frozenset(loads | (before.loads if before else set())),
                tuple(sorted({**dict(before.imports if before else ()), **bound}.items())),
            )
    return _Module(definitions, imports)


def _bound(statement: ast.AST, path: Path) -> Iterator[tuple[str, str]]:
    """(name, "module:name") for every import in a statement."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, f"{alias.name}:") if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = path.parents[node.level - 1].relative_to(_top(path)).parts
                module = ".".join([*package, *filter(None, [module])])
            for alias in node.names:
                yield alias.asname or alias.name, f"{module}:{alias.name}"


def _defined(statement: ast.AST) -> list[str]:
    """The names that a top-level statement gives a value to."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    nodes = [n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    if isinstance(statement, ast.If | ast.Try | ast.With):
        inner = [n.name for n in ast.walk(statement) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        return [*inner, *(n.id for n in nodes)]
    simple = isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign)
    return [n.id for n in nodes] if simple else []


def _loads(tree: ast.AST) -> Iterator[tuple[str, str]]:
    taken = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            taken.add(node.value)
            yield node.value.id, node.attr
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node not in taken:
            yield node.id, ""


class _WithoutWords(ast.NodeTransformer):
    """Drops docstrings, what an error says, imports, and the declarations of plug-ins, whose values the spec has.

    Attributes:
        declared: what the dropped declarations were given, such as a sampler.
    """

    def __init__(self) -> None:
        self.declared: list[ast.AST] = []

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            declarations = [d for d in node.decorator_list if _is_declaration(d)]
            self.declared += [k.value for d in declarations for k in d.keywords]
            node.decorator_list = [d for d in node.decorator_list if d not in declarations]
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(ast.Constant(ast.unparse(kind) if kind else None))

    def visit_Import(self, node: ast.Import) -> ast.AST:
        return ast.Pass()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.Pass()


def _is_declaration(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _DECLARATIONS


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
