"""Somebody's own repository with an objective, a suite and a baseline, and what may happen to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OBJECTIVE = '''
from typing import Annotated

from torch import Tensor

from bench.api import Energy, Log, Rng, objective, score, sum_event


@objective(family="score matching", minimiser="smoothed", source="a test", proof={"sigma": 0.3})
def mine(energy: Energy, x: Tensor, rng: Rng, *, sigma: Annotated[float, Log(1e-2, 1.0)] = 0.1) -> Tensor:
    """½‖σ s(x + σz) + z‖², z ~ N(0, I)."""
    z = rng.normal_like(x)
    s = score(energy, x + sigma * z, create_graph=True)
    return 0.5 * sum_event((sigma * s + z).square(), rng)
'''
LAST = "    return "
FAULTS = {
    "a loss scaled by -.2": lambda code: code.replace(LAST, f"{LAST}-0.2 * "),
    "twenty more forwards": lambda code: code.replace(LAST, "    for _ in range(20):\n        energy(x)\n" + LAST),
}
SUITE = """
name = "mine"
objectives = ["mine.py"]
datasets = ["two_moons[n_train=512,n_valid=128,n_test=128]"]
seeds = "0-1"
metrics = ["kl"]
timeout_seconds = 120

[network]
name = "mlp"
width = 16
depth = 2

[optimiser]
lr = 5e-3
ema = 0.9

[budget]
steps = 60
batch = 64

[evaluation]
checkpoints = 1
samples = 50
"""


def repository(folder: Path) -> Path:
    """A git repository with one commit; a folder called bench is somebody's own."""
    folder.mkdir()
    (folder / "bench").mkdir()
    (folder / "bench" / "__init__.py").write_text("raise ImportError('this is another bench')\n", encoding="utf-8")
    (folder / "mine.py").write_text(OBJECTIVE, encoding="utf-8")
    (folder / "mine.toml").write_text(SUITE, encoding="utf-8")
    (folder / ".gitignore").write_text("ebm-bench-results/\n__pycache__/\n", encoding="utf-8")
    git(folder, "init", "-q")
    commit(folder, "the beginning")
    return folder


def git(folder: Path, *words: str) -> None:
    about = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *about, *words], cwd=folder, check=True)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line in that folder, as an installed program would run."""
    code = "from bench.cli.main import main; raise SystemExit(main())"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
