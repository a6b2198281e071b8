"""The predicted cost of a plan as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.common.duration import duration
from bench.common.run_spec import RunSpec
from bench.costs.estimate import CostEstimate
from bench.results.tables import format_cells, markdown_table


def plan_markdown(specs: Sequence[RunSpec], estimates: Mapping[str, CostEstimate], jobs: int) -> str:
    """A line for each pair of objective and data set, the skipped cells with their reasons, and the total.

    Args:
        estimates: {cell_id: cost of one seed}.
        jobs: processes in parallel.
    """
    runs = _runs_frame(specs, estimates)
    grouped = runs.groupby(["suite", "dataset", "objective"], sort=False)
    shown = grouped.agg(runs=("seconds", "size"), seconds=("seconds", "sum"), gflops=("gflops", "sum")).reset_index()
    skipped = {spec.cell_id: spec for spec in specs if spec.skip}.values()
    total = float(runs["seconds"].sum())
    return "\n".join(
        [
            markdown_table(format_cells(shown), padded=True),
            *(f"skipped: {spec.objective.label} · {spec.dataset.label}: {spec.skip}" for spec in skipped),
            f"{len(runs)} runs, {int(runs['skipped'].sum())} of them skipped; {runs['gflops'].sum():.3g} GFLOPs; "
            f"predicted time {duration(total)} on one core, {duration(total / jobs)} with {jobs} in parallel",
        ]
    )


def _runs_frame(specs: Sequence[RunSpec], estimates: Mapping[str, CostEstimate]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "suite": spec.suite,
            "dataset": spec.dataset.label,
            "objective": spec.objective.label,
            "seconds": estimates[spec.cell_id].seconds,
            "gflops": estimates[spec.cell_id].flops / 1e9,
            "skipped": bool(spec.skip),
        }
        for spec in specs
    )
