"""The benchmark as somebody uses it who has no checkout: timed, from an empty folder, with only the wheel installed.

python scripts/use_from_outside.py [--out FILE.md]

Builds the wheel of this checkout, unpacks it beside the packages that it depends on, and works in an empty folder: an
objective of ten lines to a leaderboard beside two others; a CSV file to a ranked table; a gate of one's own; a plan.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
OBJECTIVE = '''from typing import Annotated
from torch import Tensor
from bench.api import Energy, Log, Rng, objective, score, sum_event
@objective(family="score matching", minimiser="smoothed", source="mine")
def mine(energy: Energy, x: Tensor, rng: Rng, *, sigma: Annotated[float, Log(1e-2, 1.0)] = 0.1) -> Tensor:
    """½‖σ s(x + σz) + z‖², z ~ N(0, I)."""
    z = rng.normal_like(x)
    s = score(energy, x + sigma * z, create_graph=True)
    return 0.5 * sum_event((sigma * s + z).square(), rng)
'''
SUITE = """name = "bench"
objectives = ["mine.py", "denoising_score_matching"]
datasets = ["two_moons"]
seeds = "0-2"
[network]
name = "mlp"
width = 32
[budget]
steps = 200
[evaluation]
checkpoints = 2
"""
RUN = ["run", "--suite", "smoke", "--objective", "mine.py,contrastive_divergence,denoising_score_matching"]
STEPS: dict[str, tuple[list[str], str]] = {
    "own objective beside CD and DSM": ([*RUN, "--out", "first"], "first/leaderboard.md"),
    "own CSV to a ranked table": (
        ["run", "--suite", "points", "--dataset", "points.csv", "--out", "second"],
        "second/leaderboard.md",
    ),
    "own gate: the first baseline": (
        ["update-baseline", "--suite", "bench.toml", "--reason", "the first"],
        "ebm-baseline.json",
    ),
    "own gate: an untouched commit": (["regression", "--suite", "bench.toml"], ""),
    "plan of 12 runs of one's own": (["plan", "--suite", "bench.toml", "--seed", "0-5"], ""),
}


def build(folder: Path) -> Path:
    """Where the wheel of this checkout is unpacked."""
    copy = folder / "source"
    copy.mkdir()
    listed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(copy)], input=listed.stdout, check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(copy),
    ]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def measured(site: Path, place: Path, arguments: list[str], left: str) -> dict[str, str]:
    """A command in the empty folder: seconds, whether it left what it promised, and CPU seconds without its runs'."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    good = done.returncode == 0 and (not left or (place / left).is_file())
    if not good:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
    typed = "ebm-bench " + " ".join(arguments)
    return {"command": f"`{typed}`", "seconds": f"{wall:.0f}", "CPU seconds": f"{cpu:.0f}", "good": str(good)}


def main() -> int:
    """Prints a line a step; returns 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Also write the table to this file (default: nowhere).")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site, place = build(Path(folder)), Path(folder) / "empty"
        place.mkdir()
        (place / "mine.py").write_text(OBJECTIVE, encoding="utf-8")
        (place / "bench.toml").write_text(SUITE, encoding="utf-8")
        angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 2000)
        rows = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * np.random.default_rng(1).normal(size=(2000, 2))
        np.savetxt(place / "points.csv", rows, delimiter=",", header="left,right", comments="")
        lines = [{"step": name, **measured(site, place, *step)} for name, step in STEPS.items()]
    table = str(pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True))
    own = f"The objective has {len(OBJECTIVE.splitlines())} lines, its leaderboard one command more."
    print(f"{table}\n\n{own}")
    if options.out:
        options.out.write_text(f"{table}\n\n{own}\n", encoding="utf-8")
    return int(any(line["good"] != "True" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
