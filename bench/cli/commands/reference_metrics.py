"""`reference-metrics`: image metrics of sets whose quality is known."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from bench.cli.options import Commands, Group, add_data_dir, add_device, add_inception, new_parser, use_data_dir
from bench.common.errors import UsageError
from bench.common.exit_codes import GOOD
from bench.common.paths import default_store

GROUP = Group.MEASUREMENT
FEWEST_SAMPLES, MOST_SAMPLES = 8, 1_000_000


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "reference-metrics", "FID, KID, precision and recall of reference image sets.")
    parser.add_argument("--dataset", required=True, metavar="NAME[k=v]|FILE.py", help="Data set of images (required).")
    parser.add_argument(
        "--samples", type=int, default=1000, metavar="N", help="Images in each set (default: %(default)s)."
    )
    # `report` looks for this name in a store
    parser.add_argument(
        "--out",
        type=Path,
        default=default_store() / "rulers",
        metavar="DIR",
        help="Folder to write tables into (default: %(default)s).",
    )
    add_data_dir(parser)
    add_inception(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the metrics and writes rulers.csv and rulers.md; returns the exit code.

    Raises:
        UsageError: if the data set has no images or no extractor, or the Inception file is invalid.
    """
    from bench.cli.output import save_table
    from bench.core.rng import Rng
    from bench.evaluation import image_fidelity
    from bench.evaluation.reference_sets import reference_metrics
    from bench.plugins import builders

    if options.samples < FEWEST_SAMPLES:
        raise UsageError(f"--samples must be at least {FEWEST_SAMPLES} for nearest neighbours; got {options.samples}")
    if options.samples > MOST_SAMPLES:
        raise UsageError(f"--samples must be at most {MOST_SAMPLES}; got {options.samples}")
    use_data_dir(options)
    device = builders.pick_device(options.device)
    extractor = None if options.inception is None else image_fidelity.inception(options.inception)
    data = builders.dataset(options.dataset, Rng(0, "data")).to(device)
    if "/" not in options.dataset:  # as suites call it: the parameters decide the sets
        data = replace(data, name=options.dataset)
    save_table(reference_metrics(data, options.samples, extractor), options.out, "rulers")
    return GOOD
