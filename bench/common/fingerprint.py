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
from functools import cache, cached_property
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
    tree = _code_under(root)
    return digest("".join(sorted({tree.wired(d) for d in tree.reached_from(path.resolve())})))


def closure(path: Path, root: Path = ROOT) -> list[Path]:
    """The files in which the definitions lie that a file's own use, directly or not, itself included; sorted."""
    return sorted({path.resolve(), *(d.path for d in definitions(path, root))})


def definitions(path: Path, root: Path = ROOT) -> set[Definition]:
    """The definitions of a file and all that they use, directly or not."""
    return _code_under(root).reached_from(path.resolve())


@dataclass(frozen=True, eq=False)
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

    @cached_property
    def digest(self) -> str:
        """The hash of what it means by itself."""
        return digest(self.meaning)


@dataclass(frozen=True)
class _Module:
    """A file's definitions by name, and what its imports bind: "package.module:name", or "package.module:"."""

    definitions: Mapping[str, Definition]
    imports: Mapping[str, str]

    @property
    def effects(self) -> list[Definition]:
        """Statements that run whenever the module is imported, and define nothing."""
        return [d for name, d in self.definitions.items() if name.startswith("<")]


class _Code:
    """The definitions below a root and beside its plug-ins, resolved once, for as long as no file of them changes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ages: dict[Path, int] = {}
        self._files: dict[tuple[str, Path], Path | None] = {}
        self._used: dict[Definition, list[tuple[str, Definition]]] = {}
        self._wired: dict[Definition, str] = {}

    def is_current(self) -> bool:
        """Whether every file that was read, and every folder that was searched, is as old as it was."""
        return all(_age(path) == age for path, age in self._ages.items())

    def reached_from(self, path: Path) -> set[Definition]:
        """The definitions of a file and all that they use, directly or not."""
        waiting = list(self._read(path).definitions.values())
        found: set[Definition] = set()
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                waiting += [used for _, used in self._uses(current)]
        return found

    def wired(self, definition: Definition) -> str:
        """What a definition means, with what each of its names stands for: of two of one name, which."""
        if definition not in self._wired:
            used = sorted(f"{name}={target.digest}" for name, target in self._uses(definition))
            imports = {**self._read(definition.path).imports, **dict(definition.imports)}
            names = {name for name, _ in definition.loads}
            outside = sorted(
                f"{n}={imports[n]}" for n in names & imports.keys() if not self._is_own(imports[n], definition)
            )
            self._wired[definition] = digest("\n".join([definition.meaning, *used, *outside]))
        return self._wired[definition]

    def _uses(self, definition: Definition) -> list[tuple[str, Definition]]:
        """The definitions that one uses directly, by the names that it uses for them."""
        if definition not in self._used:
            self._used[definition] = list(self._resolve(definition))
        return self._used[definition]

    def _resolve(self, definition: Definition) -> Iterator[tuple[str, Definition]]:
        module = self._read(definition.path)
        for effect in module.effects:
            yield "", effect
        imports = {**module.imports, **dict(definition.imports)}
        for name, attribute in definition.loads:
            if name in imports:
                found = self._imported(imports[name], attribute, definition.path)
            else:
                found = [module.definitions[name]] if name in module.definitions else []
            for target in found:
                yield f"{name}.{attribute}" if attribute else name, target

    def _imported(self, origin: str, attribute: str, importer: Path) -> list[Definition]:
        """The definitions behind an imported name, or behind an attribute of an imported module."""
        module, _, name = origin.partition(":")
        submodule = self._file(f"{module}.{name}", importer) if name else None
        if submodule is None and name:
            path = self._file(module, importer)
            return self._named(path, name) if path else []
        path = submodule or self._file(module, importer)
        if path is None:
            return []
        # a module that is handed around whole may be used whole
        return self._named(path, attribute) if attribute else list(self._read(path).definitions.values())

    def _named(self, path: Path, name: str) -> list[Definition]:
        """The definition of that name in a file, or behind the import that the file has it from."""
        module = self._read(path)
        if name in module.definitions:
            return [module.definitions[name]]
        if name in module.imports:
            return [*module.effects, *self._imported(module.imports[name], "", path)]
        # `package.module` without an import of its own: loaded by another
        inside = path.parent / f"{name}.py"
        is_there = path.name == "__init__.py" and inside.is_file()
        return list(self._read(inside).definitions.values()) if is_there else []

    def _is_own(self, origin: str, definition: Definition) -> bool:
        module, _, name = origin.partition(":")
        return any(self._file(m, definition.path) for m in (module, f"{module}.{name}"))

    def _file(self, module: str, importer: Path) -> Path | None:
        """The file of a module of the project, or of one that lies beside a plug-in; None for what is installed."""
        own = module.partition(".")[0] == PACKAGE
        if not own and importer.is_relative_to(self.root / PACKAGE):
            return None
        base = self.root if own else _top(importer)
        if (module, base) not in self._files:
            place = base.joinpath(*module.split("."))
            candidates = place.with_suffix(".py"), place / "__init__.py"
            self._files[module, base] = next((p.resolve() for p in candidates if p.is_file()), None)
            for folder in {candidate.parent for candidate in candidates}:
                self._ages.setdefault(folder, _age(folder))
        return self._files[module, base]

    def _read(self, path: Path) -> _Module:
        if path not in self._ages:
            self._ages[path] = _age(path)
        return _read_at(path, self._ages[path])


_known: dict[Path, _Code] = {}


def _code_under(root: Path) -> _Code:
    known = _known.get(root)
    if known is None or not known.is_current():
        known = _known[root] = _Code(root)
    return known


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return -1


def _top(path: Path) -> Path:
    """The folder from which a file's absolute imports start: the first above it that is no package."""
    return next(folder for folder in path.parents if not (folder / "__init__.py").is_file())


@cache  # by age
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
