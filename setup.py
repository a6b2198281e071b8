"""Builds the folders beside the package into it: an installed package has them as `bench/bundled`.

Nothing named `objectives` or `datasets` may lie at the top of site-packages: other libraries own these names.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLED = ("objectives", "datasets", "results/published.csv", "results/baselines/main.json")


class BuildWithPlugins(build_py):
    """Copies what a run reads from beside the package; an editable installation finds it where it lies."""

    def run(self) -> None:
        """Builds the package, then adds the folders to it."""
        super().run()
        if self.editable_mode:
            return
        for name in BUNDLED:
            source, target = Path(name), Path(self.build_lib, "bench", "bundled", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                skip = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(source, target, ignore=skip, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, target)


setup(cmdclass={"build_py": BuildWithPlugins})
