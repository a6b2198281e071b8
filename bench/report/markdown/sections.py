"""The parts of a Markdown page that stand for one board: its tables, how they are read, what has no result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.results import denoising_table, leaderboard, reference_comparison, samples_table, tables
from bench.results.boards import Board
from bench.results.metric_values import MetricKey
from bench.results.records import Cell, Record, group_cells
from bench.results.standings import board_markdown, caption, failures, provenance, ranking_frame

READING = (
    "Cells are mean ± half the width of Student's 95 % interval over the seeds, then the rank: the place in the order "
    "of the means (geometric ones where values are positive and lower is better), shared with the best entry above "
    "that a paired test, of logarithms there, does not separate it from (Holm-corrected). One seed ranks nobody. `?` "
    "marks a value that is not certified: it is shown and not ranked. Entries with failed seeds are not ranked either. "
    "Cost is the median over the data sets of the median over the completed seeds."
)
LOG_Z = {"log_z_error": "error against quadrature", "log_z_error_ais": "error against annealing"}
WEIGHTS = {"last": "last", "ema": "averaged", "best": "best by validation"}


@dataclass(frozen=True)
class BoardSections:
    """What a page says of one board, in Markdown; "" for what the board does not have.

    Attributes:
        title: suite, track and device.
        provenance: the command that makes the runs again, how many succeeded, of which commit.
        caption: what each data set is ranked by.
        ranking: objectives as rows, data sets as columns.
        comparison: every objective against the suite's reference.
        samples: samples of images by each sampler.
        denoising: denoised images by each method.
        failures: runs without a result, alike ones together.
        environments: what the runs were made on.
    """

    title: str
    provenance: str
    caption: str
    ranking: str
    comparison: str
    samples: str
    denoising: str
    failures: list[str]
    environments: str


def board_sections(
    board: Board, reference_sets: Mapping[str, samples_table.ReferenceSets] | None = None
) -> BoardSections:
    """Every section of a board.

    Args:
        reference_sets: the image metrics of sets whose quality is known, by data set.
    """
    records, frame = board.records, board.frame
    # classical denoisers alone have nothing to rank
    ranked = not frame.empty
    return BoardSections(
        title=f"{board.key.suite} ({board.key.track.replace('_', ' ')}, {board.key.device})",
        provenance=provenance(records),
        caption=caption(frame) if ranked else "",
        ranking=board_markdown(frame) if ranked else "",
        comparison=reference_comparison.comparison_markdown(records),
        samples=samples_table.samples_markdown(records, reference_sets or {}),
        denoising=denoising_table.denoising_markdown(records),
        failures=failure_lines(records),
        environments=environments(records),
    )


def failure_lines(records: Sequence[Record]) -> list[str]:
    """A line for each objective and data set whose runs have no result, with the reason."""
    return [
        tables.inline_markdown(
            f"**{f.status}** {f.objective} on {f.dataset}, seed{'s' * (len(f.seeds) > 1)} "
            f"{', '.join(map(str, f.seeds))}: {f.reason}"
        )
        for f in failures(records)
    ]


def environments(records: Sequence[Record]) -> str:
    """What the runs were made on; a warning where that differs within a table."""
    found: dict[str, str] = {}
    for record in records:
        if env_id := record.get("env.env_id"):
            about = {name: record.get(f"env.{name}") for name in ("processor", "device", "torch")}
            words = ", ".join(f"{name} {value}" for name, value in about.items() if value)
            found[env_id] = f"{words} (environment `{env_id[:8]}`)"
    if not found:
        return ""
    warning = "**These runs come from different environments: compare their costs with care.** " * (len(found) > 1)
    return f"{warning}Made on: {'; '.join(found.values())}."


def weights_table(records: Sequence[Record]) -> str:
    """Median and range over seeds of the KL of the last, averaged and best weights, by objective and data set.

    Columns of what the suite did not measure are left out. "?" and "13 of 16" stand as in the ranking.
    """
    keys = {f"KL, {words}": MetricKey("kl", "", weights) for weights, words in WEIGHTS.items()}  # type: ignore[arg-type]
    keys["mode-weight error"] = MetricKey("mode_weight_error", "", "best")
    cells = group_cells(records)
    measured = {name: key for name, key in keys.items() if any(cell.numbers(key) for cell in cells.values())}
    lines = []
    for (_, _, _, objective, dataset), cell in cells.items():
        shown = {
            name: _median_and_range(cell, key) or cell.word(key).partition(" (")[0] for name, key in measured.items()
        }
        lines.append({"objective": objective, "data set": dataset, **shown})
    return tables.markdown_table(pd.DataFrame(lines).sort_values(["data set", "objective"]))


def log_z_table(records: Sequence[Record]) -> str:
    """|ζ - log Z| in nats, by objective and data set, ζ an objective's own estimate of log Z; empty where none is.

    Median and range over the seeds; log Z by quadrature (`log_z_error`), by annealed importance sampling elsewhere.
    """
    lines = []
    for (_, _, _, objective, dataset), cell in group_cells(records).items():
        shown = {}
        for name, head in LOG_Z.items():
            key = MetricKey(name, "", "last")
            if text := _median_and_range(cell, key):
                shown[head] = text
        if shown:
            lines.append({"objective": objective, "data set": dataset, **shown})
    if not lines:
        return ""
    return tables.markdown_table(pd.DataFrame(lines).fillna("n/a").sort_values(["data set", "objective"]))


def headline(records: Sequence[Record], most: int = 15) -> str:
    """The first objectives of a suite's ranking: the table of a page that has room for one."""
    table = ranking_frame(leaderboard.leaderboard_frame(records))
    return tables.markdown_table(
        table[~table["objective"].str.endswith("(control)")].drop(columns="completed").head(most)
    )


def _median_and_range(cell: Cell, key: MetricKey) -> str:
    """Marked like a cell of the ranking where a value is not certified, or a planned run has none."""
    values, planned = cell.numbers(key), len(cell.records)
    if not values:
        return ""
    text = f"{np.median(values):.3g} ({min(values):.3g} to {max(values):.3g})" + "?" * bool(cell.uncertified(key))
    return text if len(values) == planned else f"{text}, {len(values)} of {planned}"
