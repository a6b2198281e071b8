"""A suite as an array of Slurm jobs: one script, a shard a job, requeued where its time was too short."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from bench.common.errors import UsageError

NOTICE = 180  # seconds before the end of its time at which a job is told to write checkpoints
_TIME = r"\d+(-\d+)?(:\d\d){0,2}"
_MEMORY = r"\d+[KMGT]?"


def memory_of_job(gigabytes: Sequence[float], jobs: int) -> str:
    """What a job asks for that runs `jobs` at a time, the largest of which take so many GB; one more to supervise."""
    return f"{math.ceil(max(gigabytes) * jobs + 1)}G"


@dataclass(frozen=True, kw_only=True)
class ArrayJob:
    """What is asked of Slurm.

    Attributes:
        name: of the job.
        command: the words of `run` without its shard.
        shards: jobs of the array.
        time: the limit of a job as Slurm writes it, "HH:MM:SS" or "D-HH".
        memory: of a job, "8G".
        cpus, gpus: of a job.
        log: folder of the jobs' output.
        options: further lines of `#SBATCH`, such as "--partition=long".
    """

    name: str
    command: Sequence[str]
    shards: int
    time: str
    memory: str
    cpus: int
    gpus: int
    log: str
    options: Sequence[str] = ()

    def script(self) -> str:
        """The script for `sbatch`.

        Raises:
            UsageError: if a value is not as Slurm writes it.
        """
        self._check()
        lines = [
            f"--job-name={self.name}",
            f"--array=1-{self.shards}",
            f"--time={self.time}",
            f"--mem={self.memory}",
            f"--cpus-per-task={self.cpus}",
            *([f"--gpus-per-task={self.gpus}", "--ntasks=1"] if self.gpus else []),
            f"--output={self.log}/slurm-%A_%a.txt",
            "--open-mode=append",
            "--requeue",
            f"--signal=B:TERM@{NOTICE}",
            *self.options,
        ]
        head = "\n".join(f"#SBATCH {line}" for line in lines)
        words = shlex.join([*self.command])
        return f"""#!/bin/bash
{head}

# {NOTICE} s before the time is over Slurm sends a signal: runs write checkpoints, and the job is put back into the
# queue, where it goes on. A job that is preempted or whose node fails is put back by Slurm itself.
{words} --shard "$SLURM_ARRAY_TASK_ID/{self.shards}" &
run=$!
trap 'kill -TERM "$run"' TERM
wait "$run"
code=$?
while kill -0 "$run" 2>/dev/null; do  # the signal ended `wait`, not the run
    wait "$run"
    code=$?
done
if [ "$code" -eq 130 ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
"""

    def _check(self) -> None:
        for name, value, rule, example in (
            ("time", self.time, _TIME, "04:00:00 or 2-12"),
            ("memory", self.memory, _MEMORY, "8G"),
        ):
            if not re.fullmatch(rule, value):
                raise UsageError(f"--{name} must be as Slurm writes it, such as {example}; got '{value}'")
        for name, number, least in (("shards", self.shards, 1), ("gpus", self.gpus, 0), ("jobs", self.cpus, 1)):
            if number < least:
                raise UsageError(f"--{name} must be at least {least}; got {number}")
        for option in self.options:
            if not option.startswith("--") or "\n" in option:
                raise UsageError(
                    f"--sbatch takes an option of sbatch, such as --sbatch=--partition=long; got '{option}'"
                )
