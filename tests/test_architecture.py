"""Who may import whom, and what every plug-in file must look like."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from bench import load

ROOT = Path(__file__).resolve().parent.parent
FIELD_LIBRARIES = {"torch", "numpy", "scipy", "sklearn", "skimage"}
WITHOUT_TORCH = (
    "against",
    "audit_plots",
    "audit_report",
    "baseline",
    "gate",
    "gate_report",
    "gate_quality",
    "gate_benchmarks",
    "history",
    "history_plots",
    "store",
    "statistics",
    "table",
    "leaderboard",
    "efficiency",
    "plots",
    "plots_images",
    "plots_verdict",
    "readme",
    "denoising_table",
    "samples_table",
    "report",
    "verdict",
    "compare",
    "foresight",
    "terminal",
    "paper",
    "plain",
    "errors",
    "fingerprint",
)
PLUGINS = [(kind, name) for kind in load.FOLDERS for name in load.names(kind)]
LINES = {"objectives": 100, "datasets": 80}


def imported(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return modules


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_plugin_imports_the_api_and_field_libraries_only(kind: load.Kind, name: str) -> None:
    modules = imported(load.FOLDERS[kind] / f"{name}.py")
    foreign = {m for m in modules if m.split(".")[0] not in sys.stdlib_module_names | FIELD_LIBRARIES} - {"bench.api"}
    assert not foreign


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_plugin_is_named_after_its_file_and_documented(kind: load.Kind, name: str) -> None:
    plugin = load.find(kind, name)
    assert plugin.name == name
    assert (plugin.target.__doc__ or "").strip()


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, n in PLUGINS if k in LINES])
def test_a_plugin_file_is_short(kind: str, name: str) -> None:
    assert len((ROOT / kind / f"{name}.py").read_text().splitlines()) <= LINES[kind]


def test_the_harness_names_no_plugin() -> None:
    plugins = {name for kind in ("objectives", "datasets") for name in load.names(kind)}
    for path in (ROOT / "bench").glob("*.py"):
        named = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not named & plugins, path.name


def test_plugins_import_without_the_others() -> None:
    for kind, name in PLUGINS:
        others = {n for k, n in PLUGINS if k == kind} - {name}
        assert not {m.split(".")[-1] for m in imported(load.FOLDERS[kind] / f"{name}.py")} & others


def test_the_harness_imports_in_one_direction() -> None:
    files = {f"bench.{path.stem}": path for path in (ROOT / "bench").glob("*.py")}
    graph = {}
    for name, path in files.items():
        nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
        wanted = {n.module for n in nodes} | {f"{n.module}.{alias.name}" for n in nodes for alias in n.names}
        graph[name] = {str(w) for w in wanted} & files.keys()
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError on a circle


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_what_only_reads_rows_does_not_load_torch(module: str) -> None:
    code = f"import sys, bench.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from bench import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'pandas', 'numpy', 'matplotlib', 'joblib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0
