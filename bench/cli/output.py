"""A measured table: printed, and written to files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def save_table(table: pd.DataFrame, folder: Path, name: str) -> None:
    """Writes a table to `name`.csv and `name`.md in a folder, and prints it as Markdown.

    Raises:
        UsageError: if the folder cannot be written to.
    """
    from bench.results import tables

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create folder '{folder}': {error.strerror}; choose another") from None
    for suffix in ("csv", "md"):
        tables.write_table(table, folder / f"{name}.{suffix}")
    print(tables.markdown_table(tables.format_cells(table), padded=True))
    print(f"written to {folder / name}.csv and .md", file=sys.stderr)
