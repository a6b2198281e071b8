"""An installed package does all that a checkout does: everything that a run reads is in the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.common.paths import ROOT
from bench.plugins import registry
from bench.suites.files import suite_names

SOURCES = ("bench", "objectives", "datasets", "results/baselines", "results/published.csv")
BUNDLED = "bench/bundled/"
SOURCES += ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build folder in the checkout would keep what has been deleted."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    done = subprocess.run([*command, "--wheel-dir", str(out), str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel is installed, without what it depends on."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the installed package in an empty folder."""
    code = (
        "import sys, bench; from bench.cli.main import main\n"
        f"assert bench.__file__.startswith({str(site)!r}), bench.__file__\n"
        "if __name__ == '__main__': sys.exit(main())"
    )
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_nothing_but_the_package_lies_at_the_top(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bench"}


@pytest.mark.parametrize(("folder", "inside"), [("bench", ""), ("objectives", BUNDLED), ("datasets", BUNDLED)])
def test_every_file_is_in_it(folder: str, inside: str, wheel: Path) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    with zipfile.ZipFile(wheel) as archive:
        missing = {inside + str(path.relative_to(ROOT)) for path in files} - set(archive.namelist())
    assert not missing


def test_there_is_a_console_script(site: Path) -> None:
    (entries,) = site.glob("*.dist-info/entry_points.txt")
    assert "ebm-bench = bench.cli.main:main" in entries.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["objectives", "datasets", "metrics", "networks", "denoisers", "suites"])
def test_it_lists_what_the_checkout_has(kind: str, site: Path, tmp_path: Path) -> None:
    done = run(site, tmp_path, "list", kind)
    assert done.returncode == 0, done.stderr
    known: Sequence[str] = suite_names() if kind == "suites" else registry.names(kind)  # type: ignore[arg-type]
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert listed >= set(known)


def test_it_trains_outside_of_a_checkout_into_a_folder_of_its_own(site: Path, tmp_path: Path) -> None:
    done = run(site, tmp_path, "run", "--suite", "smoke", "--objective", "denoising_score_matching", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ebm-bench-results" / "leaderboard.md").is_file()


@pytest.mark.long
def test_it_runs_the_whole_smoke_suite_and_its_gate(site: Path, tmp_path: Path) -> None:
    for arguments in (["run", "--suite", "smoke"], ["report"], ["verify"], ["plan", "--suite", "smoke"]):
        done = run(site, tmp_path, *arguments)
        assert done.returncode == 0, done.stderr


def test_a_missing_folder_of_plugins_is_an_error_in_words(site: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(site, torn)
    shutil.rmtree(torn / "bench" / "bundled" / "objectives")
    done = run(torn, tmp_path, "list", "objectives")
    assert done.returncode == 2
    assert "No objectives in" in done.stderr
    assert "Traceback" not in done.stderr
