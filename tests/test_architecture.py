"""Who may import whom, where a module may lie, and what every plug-in file must look like."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from bench.plugins import registry

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
FIELD_LIBRARIES = {"torch", "numpy", "scipy", "sklearn", "skimage", "pywt", "bm3d"}
PLUGINS = [(kind, name) for kind in registry.FOLDERS for name in registry.names(kind)]
PLUGIN_FOLDERS = set(registry.FOLDERS.values())
MODULES = sorted(path for path in BENCH.rglob("*.py") if path.parent not in PLUGIN_FOLDERS)
FOLDERS = ("bench", "objectives", "datasets", "tests", "docs", "scripts")
PYTHON = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PACKAGES = sorted({path.parent for path in MODULES})
ON_TOP = {"__init__.py", "__main__.py", "api.py"}
MOST_LINES = {"objectives": 100, "datasets": 80}
HEAVY = {"torch", "pandas", "numpy", "matplotlib", "joblib"}


def module_name(path: Path) -> str:
    """ "bench.results.store" of bench/results/store.py; of an __init__.py the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in MODULES}


def is_for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node at any depth, in functions too, less what stands under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if not is_for_types_alone(node):
            yield node
            yield from statements(node)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """The modules that a file imports when it runs: of `from a import b` both a and a.b, which may be a module."""
    modules: set[str] = set()
    for node in statements(parsed(path)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: an import relative to the package"
            modules |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def package_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def imports_of(path: Path) -> set[str]:
    """The packages that a file of bench/ imports from."""
    known = {name for name in imported(path) if name in NAMES and name != "bench"}
    return {package_of(name) for name in known}


def loads(modules: list[str]) -> set[str]:
    """What importing modules in a fresh process loads, of what is heavy."""
    code = f"import sys, {', '.join(modules)}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


# where modules lie


def test_on_top_of_the_harness_lie_only_its_entry_points() -> None:
    assert {path.name for path in BENCH.glob("*.py")} == ON_TOP


@pytest.mark.parametrize("package", PACKAGES, ids=module_name)
def test_a_package_says_what_it_is(package: Path) -> None:
    assert (package / "__init__.py").is_file()
    assert (ast.get_docstring(parsed(package / "__init__.py")) or "").strip()


@pytest.mark.parametrize("folder", sorted(PLUGIN_FOLDERS), ids=module_name)
def test_a_folder_of_plugins_holds_nothing_else(folder: Path) -> None:
    (kind,) = (kind for kind, its in registry.FOLDERS.items() if its == folder)
    assert {path.stem for path in folder.rglob("*.py")} == set(registry.names(kind))


@pytest.mark.parametrize("path", sorted(BENCH.rglob("*.py")), ids=module_name)
def test_a_file_of_the_harness_can_be_read_at_once(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


# who may import whom


def test_packages_import_one_way() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        own = package_of(module_name(path))
        graph.setdefault(own, set()).update(imports_of(path) - {own})
    assert len(graph) > 15
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_modules_import_one_way() -> None:
    graph = {module_name(path): (imported(path) & NAMES) - {module_name(path)} for path in MODULES}
    packages = {name for name in NAMES if any(other.startswith(f"{name}.") for other in NAMES)}
    graph = {name: its - packages for name, its in graph.items()}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("package", ["common", "results", "report"])
def test_what_only_reads_rows_does_not_load_torch(package: str) -> None:
    modules = [module_name(path) for path in MODULES if (BENCH / package) in path.parents]
    assert len(modules) > 5
    assert "torch" not in loads(modules)


@pytest.mark.parametrize("module", ["bench.suites.files", "bench.cli.main"])
def test_what_answers_at_once_does_not_load_torch(module: str) -> None:
    assert "torch" not in loads([module])


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from bench.cli import main\n"
        "try: main.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"sys.exit(bool({HEAVY!r} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


# plug-ins


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_plugin_imports_the_api_and_field_libraries_only(kind: registry.Kind, name: str) -> None:
    modules = imported(registry.FOLDERS[kind] / f"{name}.py")
    foreign = {m for m in modules if m.split(".")[0] not in sys.stdlib_module_names | FIELD_LIBRARIES}
    assert {m for m in foreign if not (m == "bench.api" or m.startswith("bench.api."))} == set()


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_plugin_imports_without_the_others(kind: registry.Kind, name: str) -> None:
    others = {n for _, n in PLUGINS} - {name}
    from_outside = {m for m in imported(registry.FOLDERS[kind] / f"{name}.py") if not m.startswith("bench.api.")}
    assert not {part for m in from_outside if m.split(".")[0] not in FIELD_LIBRARIES for part in m.split(".")} & others


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_plugin_is_named_after_its_file_and_documented(kind: registry.Kind, name: str) -> None:
    plugin = registry.find(kind, name)
    assert plugin.name == name
    assert (plugin.target.__doc__ or "").strip()


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, n in PLUGINS if k in MOST_LINES])
def test_a_plugin_file_is_short(kind: str, name: str) -> None:
    assert len((ROOT / kind / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= MOST_LINES[kind]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_the_harness_names_no_plugin(path: Path) -> None:
    plugins = {name for kind in ("objectives", "datasets") for name in registry.names(kind)}
    nodes = ast.walk(parsed(path))
    words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not {word.partition("[")[0] for word in words} & plugins


def opens_text_in_the_locale(node: ast.AST) -> bool:
    """Whether a call opens a file as text without naming the encoding; a mode with "b" anywhere is no text."""
    if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
        return False
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = getattr(getattr(function, "value", None), "id", "")
    modes = [part.value for mode in node.args for part in ast.walk(mode) if isinstance(part, ast.Constant)]
    binary = any(isinstance(mode, str) and "b" in mode and set(mode) <= set("rwxab+") for mode in modes)
    bytes_alone = ("os", "Image", "tarfile", "archive")  # whose open knows no text
    text = name in ("read_text", "write_text", "fdopen") or (name == "open" and owner not in bytes_alone)
    return text and not binary


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_is_utf_8_whatever_the_locale(path: Path) -> None:
    assert [node.lineno for node in ast.walk(parsed(path)) if opens_text_in_the_locale(node)] == []


def test_what_a_plug_in_imports_loads_what_it_needs_and_no_more() -> None:
    loaded = "pandas", "scipy", "sklearn", "skimage", "matplotlib", "seaborn", "torchvision", "torch_fidelity"
    code = f"import sys, bench.api; print(*({set(loaded)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_a_plan_of_every_law_of_the_plane_loads_no_symbolic_algebra() -> None:
    code = (
        "import sys; from bench.suites import expand, schema; "
        "expand.plan_runs(schema.read_suite('plane'), expand.Selection(('contrastive_divergence',), seeds=(0,)), 'cpu')"
        "; sys.exit('sympy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
