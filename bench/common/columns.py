"""Rows of text as columns of one width each."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows indented, all but their last column padded to the same width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([f"{cell:{w}}" for cell, w in zip(row[:-1], widths, strict=False)] + [row[-1]] for row in rows)
    return ["  " + "  ".join(cells).rstrip() for cells in padded]
