"""`image-metrics`: image metrics of the samples that runs have saved."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import (
    Commands,
    Group,
    add_data_dir,
    add_device,
    add_inception,
    add_store,
    new_parser,
    use_data_dir,
)
from bench.common.exit_codes import GOOD

GROUP = Group.MEASUREMENT


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "image-metrics", "FID, KID, precision and recall of the samples saved in a store.")
    add_store(parser)
    add_data_dir(parser)
    add_inception(parser)
    add_device(parser)
    parser.add_argument(
        "--trust",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.py",
        help="Run this data set's file, which the store names (default: run no file that a store names).",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the metrics and writes fid.csv and fid.md into the store; returns the exit code.

    Raises:
        UsageError: if no run has saved images, or the Inception file is invalid.
    """
    from bench.cli.output import save_table
    from bench.evaluation import image_fidelity
    from bench.evaluation.saved_samples import saved_sample_metrics
    from bench.plugins import builders
    from bench.results.store import Store

    use_data_dir(options)
    device = builders.pick_device(options.device)
    extractor = None if options.inception is None else image_fidelity.inception(options.inception)
    save_table(saved_sample_metrics(options.store, device, extractor, options.trust), options.store, "fid")
    Store(options.store).note_pages(options.store / "fid.csv", options.store / "fid.md")
    return GOOD
