"""What two jobs gain over one, beside what this machine lets two plain processes gain over one.

    python scripts/two_jobs.py

Two hyperthreads of one core are no two cores: only the ratio of the harness's gain to the machine's own says what the
harness costs. Rounds take turns, since neighbours slow a machine down; the median is printed, and the load before.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

SUITE = """
name = "two_jobs"
objectives = ["denoising_score_matching"]
datasets = ["two_moons"]
seeds = "0-{last}"
metrics = ["sliced_wasserstein"]
[network]
name = "mlp"
width = 64
depth = 2
[budget]
steps = {steps}
batch = 256
[evaluation]
checkpoints = 1
samples = 50
sampler_steps = 5
"""
LOOP = """
import sys, torch
torch.set_num_threads(1)
net = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(),
                          torch.nn.Linear(64, 1))
adam, x = torch.optim.Adam(net.parameters()), torch.randn(256, 2)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[1])):
    y = (x + 0.1 * torch.randn_like(x)).requires_grad_()
    (score,) = torch.autograd.grad(net(y).sum(), y, create_graph=True)
    adam.zero_grad(); (score + (y - x)).square().sum(-1).mean().backward(); adam.step()
"""


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="Rounds of each kind (default: %(default)s).")
    parser.add_argument("--steps", type=int, default=8000, help="Steps of a run or a loop (default: %(default)s).")
    parser.add_argument("--runs", type=int, default=4, help="Runs of the suite, an even number (default: %(default)s).")
    options = parser.parse_args()
    if options.runs < 2 or options.runs % 2:
        parser.error(f"--runs must be even, so that two jobs end together; got {options.runs}")
    os.environ["OMP_NUM_THREADS"] = "1"
    load = os.getloadavg()[0]
    harness, machine = [], []
    for _ in range(options.rounds):
        one, two = (_suite_seconds(jobs, options.runs, options.steps) for jobs in (1, 2))
        harness.append(one / two)
        single, both = (_loop_seconds(count, options.steps) for count in (1, 2))
        machine.append(2 * single / both)
        print(f"2 jobs x{harness[-1]:.2f}, 2 plain processes x{machine[-1]:.2f}", file=sys.stderr, flush=True)
    gain, ceiling = median(harness), median(machine)
    noisy = "" if load < 0.2 else f"; the load was {load:.1f} when it began, so these are figures of a busy machine"
    print(
        f"two jobs do x{gain:.2f} the runs of one; two plain processes x{ceiling:.2f} the steps of one: "
        f"{gain / ceiling:.0%} of what the machine allows ({os.cpu_count()} hyperthreads{noisy})"
    )
    return 0


def _suite_seconds(jobs: int, runs: int, steps: int) -> float:
    """Seconds from the first row's start to the last one's end, so that planning and tables do not count."""
    with tempfile.TemporaryDirectory() as folder:
        suite, out = Path(folder, "two_jobs.toml"), Path(folder, "out")
        suite.write_text(SUITE.format(last=runs - 1, steps=steps), encoding="utf-8")
        words = ["run", "--suite", str(suite), "--out", str(out), "--jobs", str(jobs), "--device", "cpu"]
        subprocess.run([sys.executable, "-m", "bench", *words], check=True, capture_output=True)
        begins = [path.stat().st_mtime for path in out.rglob("spec.json")]
        return max(path.stat().st_mtime for path in out.rglob("row.json")) - min(begins)


def _loop_seconds(count: int, steps: int) -> float:
    """Seconds that so many loops at once take, once torch is loaded in each."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", LOOP, str(steps)]
    loops = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    for loop in loops:
        assert loop.stdout is not None
        loop.stdout.readline()
    began = time.monotonic()
    for loop in loops:
        assert loop.stdin is not None
        loop.stdin.write("\n")
        loop.stdin.flush()
    for loop in loops:
        loop.wait()
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
