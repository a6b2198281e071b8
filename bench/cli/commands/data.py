"""`data`: lists data sets and downloads them."""

from __future__ import annotations

import argparse

from bench.cli.options import Commands, Group, add_data_dir, new_parser, use_data_dir
from bench.common.exit_codes import GOOD

GROUP = Group.PLUGINS


def add_parser(commands: Commands) -> None:
    """Adds the command, its two actions and their options."""
    parser = new_parser(commands, "data", "List data sets that need a download, or download one.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", help="list or fetch (required).")
    listed = new_parser(actions, "list", "Show for every data set whether its files are available.")
    fetched = new_parser(actions, "fetch", "Download the files of a data set into the data directory.")
    fetched.add_argument("name", metavar="NAME", help="Data set to download (required).")
    for action in (listed, fetched):
        add_data_dir(action)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if the data set is unknown, needs no download, or cannot be downloaded.
    """
    from bench.plugins import download

    fetching = options.action == "fetch"
    use_data_dir(options, must_exist=not fetching)
    if not fetching:
        print(download.downloads_listing())
        return GOOD
    for path in download.download_dataset(options.name):
        print(path)
    return GOOD
