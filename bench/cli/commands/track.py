"""`track`: sends the finished runs of a store to TensorBoard, MLflow or Weights & Biases."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import TRACKERS, Commands, Group, new_parser
from bench.common.errors import no_runs
from bench.common.exit_codes import GOOD
from bench.common.paths import default_store

GROUP = Group.RESULTS


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "track", "Send finished runs to TensorBoard, MLflow or Weights & Biases.")
    parser.add_argument(
        "store", type=Path, nargs="?", default=default_store(), help="Store to send (default: %(default)s)."
    )
    parser.add_argument("--to", required=True, choices=TRACKERS, help="Where to (required).")
    parser.add_argument(
        "--uri",
        default="",
        metavar="PLACE",
        help="Folder, server or project (default: STORE/tensorboard; that of MLflow; ebm-bench).",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if the store holds no runs, the package is not installed, or the place refuses.
    """
    from bench.results.store import Store
    from bench.tracking import follower, trackers

    store = Store(options.store)
    runs = store.planned()
    if not runs:
        raise no_runs(options.store)
    place = trackers.tracker(options.to, options.uri, options.store)
    new, earlier = follower.send_finished(store, place)
    known = f"; {earlier} had been sent before" if earlier else ""
    print(f"{new} of {len(runs)} runs sent to {place.destination}{known}")
    return GOOD
