"""`cost`: measures what a training step costs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import PRECISIONS, Commands, Group, add_device, add_objective, add_time_limit, joined, new_parser
from bench.common.errors import UsageError
from bench.common.exit_codes import GOOD
from bench.common.paths import default_store

if TYPE_CHECKING:
    import torch

GROUP = Group.MEASUREMENT
FEWEST_ROUNDS = 6
MOST_ROUNDS, LARGEST_BATCH = 100_000, 1_000_000


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "cost", "Measure time and FLOPs of a training step of every objective.")
    add_objective(parser, "all")
    parser.add_argument(
        "--network",
        action="append",
        metavar="NAME[k=v]",
        help="Measure with these networks (default: mlp[width=64,depth=2]).",
    )
    parser.add_argument(
        "--batch", action="append", type=int, metavar="N", help="Measure with these batch sizes (default: 128)."
    )
    parser.add_argument(
        "--rounds", type=int, default=31, metavar="N", help="Interleaved timings of each step (default: %(default)s)."
    )
    add_device(parser)
    parser.add_argument(
        "--scaling",
        action="store_true",
        help="Vary batch size, width and dimension instead; also writes a plot (default: off).",
    )
    parser.add_argument(
        "--overhead", action="store_true", help="Measure the overhead of the training loop instead (default: off)."
    )
    parser.add_argument(
        "--precision", metavar=PRECISIONS, help="Compare training in this precision with float32 (default: off)."
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=default_store() / "cost",
        metavar="DIR",
        help="Folder to write tables into (default: %(default)s).",
    )
    add_time_limit(parser, 14400)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if an option is invalid.
    """
    from bench.plugins import builders, registry

    _require_valid(options)
    objectives, device = joined(options.objective) or registry.names("objectives"), builders.pick_device(options.device)
    if options.precision is not None:
        _measure_precision(options, objectives, device)
    elif options.overhead:
        _measure_overhead(options, objectives, device)
    elif options.scaling:
        _measure_scaling(options, objectives, device)
    else:
        _measure_steps(options, objectives, device)
    return GOOD


def _require_valid(options: argparse.Namespace) -> None:
    if options.rounds < FEWEST_ROUNDS:
        raise UsageError(f"--rounds must be at least {FEWEST_ROUNDS} for a confidence interval; got {options.rounds}")
    if options.rounds > MOST_ROUNDS:
        raise UsageError(f"--rounds must be at most {MOST_ROUNDS}; got {options.rounds}")
    for batch in options.batch or ():
        if not 1 <= batch <= LARGEST_BATCH:
            raise UsageError(f"--batch must be at least 1 and at most {LARGEST_BATCH}; got {batch}")
    if sum((options.precision is not None, options.overhead, options.scaling)) > 1:
        raise UsageError("--precision, --overhead and --scaling exclude each other; give one of them")
    if (options.overhead or options.scaling) and (options.network or options.batch):
        raise UsageError("--overhead and --scaling have networks and batches of their own: drop --network and --batch")


def _measure_steps(options: argparse.Namespace, objectives: Sequence[str], device: torch.device) -> None:
    from bench.cli.output import save_table
    from bench.costs import step_time

    settings = step_time.grid(joined(options.network), options.batch)
    save_table(step_time.measure_costs(settings, objectives, rounds=options.rounds, device=device), options.out, "cost")


def _measure_precision(options: argparse.Namespace, objectives: Sequence[str], device: torch.device) -> None:
    from bench.cli.output import save_table
    from bench.costs import step_time
    from bench.costs.precision import measure_precision

    settings = step_time.grid(joined(options.network), options.batch)
    measured = measure_precision(settings, objectives, options.precision, rounds=options.rounds, device=device)
    save_table(measured, options.out, "precision")


def _measure_scaling(options: argparse.Namespace, objectives: Sequence[str], device: torch.device) -> None:
    from bench.cli.output import save_table
    from bench.costs import step_time
    from bench.report.figures import plots

    measured = step_time.scaling(objectives, rounds=options.rounds, device=device)
    save_table(measured, options.out, "scaling")
    print(plots.draw_scaling(measured, options.out / "scaling.png"))


def _measure_overhead(options: argparse.Namespace, objectives: Sequence[str], device: torch.device) -> None:
    from bench.costs.harness_overhead import overhead_lines

    for line in overhead_lines(objectives, rounds=options.rounds, device=device):
        print(line)
