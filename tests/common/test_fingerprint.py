"""What a cell's identity depends on: everything that can change a number, and nothing else."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bench.common import fingerprint, paths
from bench.common.run_spec import RunSpec
from bench.plugins import registry
from bench.runner.single_run import run_single
from bench.suites import expand, schema

ROOT = paths.ROOT
HARNESS = paths.HARNESS
SUITE = """
name = "tiny"
objectives = ["{objective}"]
datasets = ["{dataset}"]
seeds = "0"
[budget]
steps = 3
batch = 8
[optimiser]
warm_up = 1
[evaluation]
checkpoints = 1
samples = 20
sampler_steps = 2
{rest}
"""
RUNS = {
    "plane": {"objective": "persistent_contrastive_divergence", "dataset": "two_moons", "rest": ""},
    "images": {
        "objective": "multiscale_denoising_score_matching",
        "dataset": "digits",
        "rest": "samplers = ['own']\n[network]\nname = 'multiscale_convolutional'\nwidth = 4\nblocks = 1",
    },
}


def planned(folder: Path, **values: str) -> RunSpec:
    path = folder / "tiny.toml"
    path.write_text(SUITE.format(**values), encoding="utf-8")
    return expand.plan_runs(schema.read_suite(str(path)), expand.Selection(), "cpu")[0]


def executed(work: Any) -> set[tuple[Path, str]]:
    """(file, top-level definition) of every function of the project that a call runs."""
    found: set[tuple[Path, str]] = set()

    def see(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            found.add((frame.f_code.co_filename, frame.f_code.co_qualname.partition(".")[0]))  # type: ignore[arg-type]

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    named = {(Path(file), name) for file, name in found if not name.startswith("<")}
    own = [ROOT / folder for folder in ("bench", "objectives", "datasets")]
    return {(file, name) for file, name in named if any(map(file.is_relative_to, own))}


def parts(run_spec: RunSpec) -> Iterator[Path]:
    """The files whose hashes are in the identity of a run."""
    yield HARNESS
    yield registry.find("objectives", run_spec.objective.ref).path
    yield registry.find("datasets", run_spec.dataset.ref).path
    yield registry.find("networks", run_spec.network.ref).path
    for metric in run_spec.evaluation.metrics:
        yield registry.find("metrics", metric).path


@pytest.mark.parametrize("kind", RUNS)
def test_what_a_run_executes_is_in_its_identity(kind: str, tmp_path: Path) -> None:
    chosen = planned(tmp_path, **RUNS[kind])
    ran = executed(lambda: run_single(chosen, tmp_path, lambda point: None))
    known = {(d.path, d.name) for part in parts(chosen) for d in fingerprint.definitions(part)}
    assert len(ran) > 60
    assert {(file.name, name) for file, name in ran - known} == set()


def copied(folder: Path) -> Path:
    """A copy of the project's code, to be changed."""
    for name in ("bench", "objectives", "datasets"):
        for source in (ROOT / name).rglob("*.py"):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return folder


class ChangeNumbers(ast.NodeTransformer):
    """Adds one to every number that is no text of an error."""

    def __init__(self) -> None:
        self.changed = 0

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            self.changed += 1
            return ast.copy_location(ast.Constant(node.value + 1), node)
        return node


def with_numbers_changed(path: Path, names: set[str]) -> bool:
    """Changes the numbers inside the named definitions of a file; whether there were any."""
    tree, change = ast.parse(path.read_text(encoding="utf-8")), ChangeNumbers()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef) and statement.name in names:
            for inner in statement.body:
                change.visit(inner)
    path.write_text(ast.unparse(tree), encoding="utf-8")
    return change.changed > 0


def test_a_changed_number_in_any_file_of_the_closure_changes_the_identity(tmp_path: Path) -> None:
    root = copied(tmp_path)
    harness = root / HARNESS.relative_to(ROOT)
    before = fingerprint.code(harness, root)
    names: dict[Path, set[str]] = {}
    for definition in fingerprint.definitions(harness, root):
        names.setdefault(definition.path, set()).add(definition.name)
    changed = 0
    for path, used in names.items():
        original = path.read_text(encoding="utf-8")
        if with_numbers_changed(path, used):
            changed += 1
            assert fingerprint.code(harness, root) != before, path.name
        path.write_text(original, encoding="utf-8")
    assert changed > 15


@pytest.mark.parametrize("behind", ["module", "package"])
def test_a_moved_file_changes_no_identity(behind: str, tmp_path: Path) -> None:
    root = copied(tmp_path)
    objectives = sorted((root / "objectives").glob("*.py"))
    before = {path: fingerprint.code(path, root) for path in objectives}
    room = root / "bench" / "room"
    room.mkdir()
    (root / "bench" / "samplers" / "langevin.py").rename(room / "mc.py")
    if behind == "package":
        names = "langevin, exponential_langevin, posterior_energy"
        (room / "__init__.py").write_text(f"from bench.room.mc import {names}\n", encoding="utf-8")
    for path in (root / "bench").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if behind == "package":
            text = re.sub(
                r"from bench\.samplers\.langevin import langevin\n", "from bench.room import langevin\n", text
            )
        path.write_text(
            re.sub(r"from bench\.samplers\.langevin import", "from bench.room.mc import", text), encoding="utf-8"
        )
    assert {path: fingerprint.code(path, root) for path in objectives} == before
    langevin = root / "objectives" / "contrastive_divergence.py"
    with_numbers_changed(room / "mc.py", {"langevin"})
    assert fingerprint.code(langevin, root) != before[langevin]


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py") if not name.endswith("init") else folder / "own/__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "mine.py"


def test_words_and_order_change_no_identity(tmp_path: Path) -> None:
    one = written(
        tmp_path / "a",
        mine='def f(x):\n    "adds"\n    if x < 0:\n        raise ValueError(f"no {x}")\n    return x\n\nA = 1\n',
    )
    two = written(
        tmp_path / "b",
        mine="A = 1  # a reason\n\ndef f(x):\n    if x < 0:\n        raise ValueError('other')\n    return x\n",
    )
    assert fingerprint.code(one) == fingerprint.code(two)


def test_a_module_beside_a_plugin_is_followed_and_one_nobody_uses_is_not(tmp_path: Path) -> None:
    mine = written(
        tmp_path,
        mine="from helper import used\n\nB = used(1)\n",
        helper="C = 2\n\ndef used(x):\n    return C * x\n\ndef unused():\n    return 1\n",
    )
    before = fingerprint.code(mine)
    helper = tmp_path / "helper.py"
    assert fingerprint.closure(mine) == [helper, mine]
    helper.write_text(helper.read_text(encoding="utf-8").replace("return 1", "return 3"), encoding="utf-8")
    assert fingerprint.code(mine) == before
    helper.write_text(helper.read_text(encoding="utf-8").replace("C = 2", "C = 3"), encoding="utf-8")
    assert fingerprint.code(mine) != before


def test_two_definitions_of_one_name_that_change_places_change_the_identity(tmp_path: Path) -> None:
    files = {"a": "def g(x):\n    return x\n", "b": "def g(x):\n    return 2 * x\n"}
    body = "\n\ndef f(x):\n    return g(x)\n\ndef k(x):\n    return h(x)\n"
    one = written(tmp_path / "one", mine=f"from a import g\nfrom b import g as h{body}", **files)
    two = written(tmp_path / "two", mine=f"from b import g\nfrom a import g as h{body}", **files)
    assert fingerprint.code(one) != fingerprint.code(two)


def test_imports_inside_functions_of_whole_modules_and_of_relative_ones_are_followed(tmp_path: Path) -> None:
    helper = "C = 2\n\ndef used(x):\n    return C * x\n"
    for k, (mine, files) in enumerate(
        {
            "def f(x):\n    from helper import used\n    return used(x)\n": {"helper": helper},
            "import helper\n\ndef f(x):\n    return helper.used(x)\n": {"helper": helper},
            "import helper as h\n\ndef f(x):\n    return list(map(h.used, x))\n": {"helper": helper},
            "import helper\n\ndef f(x):\n    return getattr(helper, 'used')(x)\n": {"helper": helper},
            "from own.deep import used\n\nB = used\n": {
                "own__deep": "from .deeper import used\n",
                "own__deeper": helper,
                "own_init": "",
            },
        }.items()
    ):
        path = written(tmp_path / str(k), mine=mine, **files)
        before = fingerprint.code(path)
        changed = next(p for p in path.parent.rglob("*.py") if "C = 2" in p.read_text(encoding="utf-8"))
        changed.write_text(helper.replace("C = 2", "C = 3"), encoding="utf-8")
        assert fingerprint.code(path) != before, mine
