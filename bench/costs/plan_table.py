"""The predicted cost of a plan as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.common.duration import duration
from bench.common.run_spec import RunSpec
from bench.costs.estimate import CostEstimate
from bench.results.tables import format_cells, markdown_table

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
    sums = {"seconds": ("seconds", "sum"), "gflops": ("gflops", "sum"), "memory_mb": ("memory_mb", "max")}
    shown = grouped.agg(runs=("seconds", "size"), **sums).reset_index()
    skipped = {spec.cell_id: spec for spec in specs if spec.skip}.values()
    total = float(runs["seconds"].sum())
    return "\n".join(
        [
            markdown_table(format_cells(shown), padded=True),
            *(f"skipped: {spec.objective.label} · {spec.dataset.label}: {spec.skip}" for spec in skipped),
            f"{len(runs)} runs, {int(runs['skipped'].sum())} of them skipped; {runs['gflops'].sum():.3g} GFLOPs; "
            f"predicted time {duration(total)} on one core, {duration(total / jobs)} with {jobs} in parallel",
            *_on_a_gpu(runs, tflops),
        ]
    )


def _on_a_gpu(runs: pd.DataFrame, tflops: float) -> list[str]:
    flops = 1e9 * float(runs["gflops"].sum())
    if flops < OF_A_GPU:
        return []
    longest, memory = 1e9 * float(runs["gflops"].max()), float(runs["memory_mb"].max())
    return [
        f"training takes {flops / tflops / 3.6e15:.3g} GPU hours at {tflops:g} TFLOP/s (assumed, not measured), the "
        f"longest run {longest / tflops / 3.6e15:.3g}; a GPU needs {memory / 1e3:.2g} GB free at least, data included"
    ]


def _runs_frame(specs: Sequence[RunSpec], estimates: Mapping[str, CostEstimate]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "suite": spec.suite,
            "dataset": spec.dataset.label,
            "objective": spec.objective.label,
            "seconds": estimates[spec.cell_id].seconds,
            "gflops": estimates[spec.cell_id].flops / 1e9,
            "memory_mb": estimates[spec.cell_id].memory / 1e6,
            "skipped": bool(spec.skip),
        }
        for spec in specs
    )
