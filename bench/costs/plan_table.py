"""The predicted cost of a plan as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.common.duration import duration
from bench.common.run_spec import RunSpec
from bench.costs.estimate import CostEstimate
from bench.results.tables import format_cells, markdown_table
from bench.runner.slurm import memory_of_job

TFLOPS = 10.0  # that a GPU sustains, unless somebody knows better: a tenth or so of what its maker says
OF_A_GPU = 1e15  # FLOPs from which a plan speaks of one


def plan_markdown(
    specs: Sequence[RunSpec], estimates: Mapping[str, CostEstimate], jobs: int, tflops: float = TFLOPS
) -> str:
    """A line for each pair of objective and data set, the skipped cells with their reasons, and the total.

    Args:
        estimates: {cell_id: cost of one seed}.
        jobs: processes in parallel.
        tflops: 10¹² FLOPs a second that a GPU is taken to sustain.
    """
    runs = _runs_frame(specs, estimates)
    grouped = runs.groupby(["suite", "dataset", "objective"], sort=False)
    shown = grouped.agg(
        runs=("seconds", "size"), seconds=("seconds", "sum"), gflops=("gflops", "sum"), memory_gb=("memory_gb", "max")
    )
    shown = shown.reset_index()
    skipped = {spec.cell_id: spec for spec in specs if spec.skip}.values()
    total = float(runs["seconds"].sum())
    return "\n".join(
        [
            markdown_table(format_cells(shown), padded=True),
            *(f"skipped: {spec.objective.label} · {spec.dataset.label}: {spec.skip}" for spec in skipped),
            f"{len(runs)} runs, {int(runs['skipped'].sum())} of them skipped; {runs['gflops'].sum():.3g} GFLOPs; "
            f"predicted time {duration(total)} on one core, {duration(total / jobs)} with {jobs} in parallel",
            *_on_a_gpu(runs, tflops),
            *_memory_lines(specs, estimates, jobs),
        ]
    )


def _on_a_gpu(runs: pd.DataFrame, tflops: float) -> list[str]:
    flops = 1e9 * float(runs["gflops"].sum())
    if flops < OF_A_GPU:
        return []
    longest, memory = 1e9 * float(runs["gflops"].max()), float(runs["tensors_gb"].max())
    return [
        f"training takes {flops / tflops / 3.6e15:.3g} GPU hours at {tflops:g} TFLOP/s (assumed, not measured), the "
        f"longest run {longest / tflops / 3.6e15:.3g}; a GPU needs {memory:.2g} GB free at least, data included"
    ]


def _memory_lines(specs: Sequence[RunSpec], estimates: Mapping[str, CostEstimate], jobs: int) -> list[str]:
    largest = largest_memory(specs, estimates)
    if largest is None:
        return ["memory is not known: this system does not say how much a process holds at its peak"]
    asked = memory_of_job([largest], jobs)
    return [
        f"predicted memory of the largest run {largest:.2g} GB; a job of `slurm --memory plan` with {jobs} in parallel "
        f"asks for {asked}"
    ]


def largest_memory(specs: Sequence[RunSpec], estimates: Mapping[str, CostEstimate]) -> float | None:
    """GB of the largest run, or of the largest limit that a suite sets; None where neither is known."""
    memory = [estimates[spec.cell_id].memory for spec in specs]
    found = [each / 1e9 for each in memory if each is not None] + [s.memory_gb for s in specs if s.memory_gb]
    return max(found, default=None)


def _runs_frame(specs: Sequence[RunSpec], estimates: Mapping[str, CostEstimate]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "suite": spec.suite,
            "dataset": spec.dataset.label,
            "objective": spec.objective.label,
            "seconds": estimates[spec.cell_id].seconds,
            "gflops": estimates[spec.cell_id].flops / 1e9,
            "memory_gb": None if (held := estimates[spec.cell_id].memory) is None else held / 1e9,
            "tensors_gb": estimates[spec.cell_id].tensors / 1e9,
            "skipped": bool(spec.skip),
        }
        for spec in specs
    )
