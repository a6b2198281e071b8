"""`slurm`: writes a suite as an array of Slurm jobs, and submits it if asked to."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.cli.options import Commands, Group, add_plan, add_tuned, job_count, new_parser, planned_runs, use_data_dir
from bench.common.errors import UsageError
from bench.common.exit_codes import GOOD
from bench.common.paths import default_store

GROUP = Group.TRAIN
PLAN = "plan"
MEMORY = 8  # GB of a run whose suite sets no limit


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "slurm", "Write a suite as an array of Slurm jobs that share a store.")
    add_plan(parser)
    add_tuned(parser)
    parser.add_argument(
        "--out", type=Path, default=default_store(), metavar="DIR", help="Store of all jobs (default: %(default)s)."
    )
    parser.add_argument("--shards", type=int, default=10, metavar="N", help="Jobs of the array (default: %(default)s).")
    parser.add_argument(
        "--time", default="24:00:00", metavar="HH:MM:SS", help="Time limit of a job (default: %(default)s)."
    )
    parser.add_argument(
        "--memory",
        metavar="8G",
        help="Memory of a job; 'plan' for what a rehearsal of each run holds (default: what the suite's runs may use).",
    )
    parser.add_argument("--gpus", type=int, metavar="N", help="GPUs of a job (default: 1 for --device cuda, else 0).")
    parser.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION", help="Further option of sbatch (default: none)."
    )
    parser.add_argument("--script", type=Path, metavar="FILE", help="Write the script here (default: print it).")
    parser.add_argument("--submit", action="store_true", help="Give --script to sbatch (default: write it only).")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if an option is invalid, or sbatch is absent or refuses the script.
    """
    from bench.runner.slurm import ArrayJob, memory_of_job
    from bench.suites.schema import read_suite

    use_data_dir(options)
    suites = read_suite(options.suite)
    jobs = job_count(options) or 1
    asked = [suite.limits.memory_gb for suite in suites]
    per_run = [gb or MEMORY for gb in asked]
    if options.memory == PLAN:
        per_run = [_rehearsed(options)]
    cuda = options.device.startswith("cuda")
    job = ArrayJob(
        name=f"ebm-{Path(options.suite).stem}",
        command=list(_command(options, jobs)),
        shards=options.shards,
        time=options.time,
        memory=memory_of_job(per_run, jobs) if options.memory in (None, PLAN) else options.memory,
        cpus=jobs,
        gpus=int(cuda) if options.gpus is None else options.gpus,
        log=str(options.out.resolve()),
        options=options.sbatch,
    )
    text = job.script()
    if options.submit and options.script is None:
        raise UsageError("--submit needs a --script to give to sbatch; add --script FILE")
    if options.script is None:
        print(text, end="")
        return GOOD
    options.script.write_text(text, encoding="utf-8")
    print(f"written to {options.script}: {job.shards} jobs; afterwards run `table {options.out}`", file=sys.stderr)
    if options.submit:
        options.out.mkdir(parents=True, exist_ok=True)
        _submit(options.script)
    return GOOD


def _command(options: argparse.Namespace, jobs: int) -> Iterator[str]:
    """The words of `run` with the same plan, which mean the same wherever the job starts."""
    yield from (sys.executable, "-m", "bench", "run", "--suite", _absolute(options.suite))
    for name in ("objective", "dataset", "seed"):
        for value in getattr(options, name) or ():
            yield from (f"--{name}", ",".join(map(_absolute, value.split(","))))
    for name in ("network", "precision", "data_dir", "tuned"):
        value = getattr(options, name)
        if value is not None:
            said = str(Path(value).resolve()) if name == "data_dir" else value
            yield from (f"--{name.replace('_', '-')}", _absolute(str(said)))
    yield from ("--device", options.device, "--jobs", str(jobs), "--out", str(options.out.resolve()))


def _rehearsed(options: argparse.Namespace) -> float:
    """GB of the largest run, as `plan` foretells."""
    from bench.costs.estimate import estimate_costs
    from bench.costs.plan_table import largest_memory

    specs = planned_runs(options)
    largest = largest_memory(specs, estimate_costs(specs))
    if largest is None:
        raise UsageError("--memory plan needs a system that says what a process holds at its peak; give a size")
    return largest


def _absolute(word: str) -> str:
    """A path as it means the same everywhere; a name as it is."""
    path, bracket, rest = word.partition("[")
    named = "/" in path or Path(path).suffix
    end = "/" * path.endswith("/")
    return f"{Path(path).resolve()}{end}{bracket}{rest}" if named and Path(path).exists() else word


def _submit(script: Path) -> None:
    try:
        done = subprocess.run(["sbatch", str(script)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UsageError("--submit needs Slurm's sbatch, which is not here; give the script to it elsewhere") from None
    print(done.stdout, end="")
    if done.returncode:
        raise UsageError(f"sbatch refused {script}: {done.stderr.strip()}; see its options --time, --memory, --sbatch")
