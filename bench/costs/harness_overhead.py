"""The time that the harness adds to a training step and to a run, in sentences."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from bench.common.run_spec import RunSpec
from bench.costs import step_time
from bench.results.store import Store
from bench.runner.executor import execute
from bench.runner.progress import WORKER
from bench.suites import expand, schema

SUITE = "toy2d"


def overhead_lines(objectives: Sequence[str], *, rounds: int, device: torch.device) -> Iterator[str]:
    """One line for each objective's training step on the suite `toy2d`, and one for a whole run.

    Raises:
        UsageError: if an objective or a parameter is invalid.
    """
    selection = expand.Selection(tuple(objectives), seeds=(0, 1))
    specs = expand.plan_runs(schema.read_suite(SUITE), selection, str(device))
    first: dict[str, RunSpec] = {}
    for spec in specs:
        if not spec.skip:
            first.setdefault(spec.objective.label, spec)
    for label, spec in first.items():
        share = step_time.overhead(spec, rounds=rounds, device=device)
        low, high = share.low or 0.0, share.high or 0.0
        yield f"{label}: {share.mean or 0.0:.2%} of training ({low:.2%} to {high:.2%})"
    yield from _whole_run([spec for spec in specs if spec.cell_id == specs[0].cell_id and not spec.skip])


def _whole_run(seeds: Sequence[RunSpec]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        # the first run waits for torch to load, which happens once for a suite
        row = execute(seeds, Store(Path(folder)), worker=WORKER)[-1]
    if row["status"] == "ok":
        total, outside = step_time.outside(row)
        label = seeds[0].objective.label
        yield f"{label}: run of {total:.1f} s, of which {outside:.2f} s are neither training nor evaluation"
