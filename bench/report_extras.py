"""Sections of the page that other commands leave behind: CSV tables and pictures beside a store, published claims."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bench import table
from bench.errors import UsageError
from bench.plots import words

PUBLISHED = Path("results/published.csv")
# file, title, what the reader should know
_FILES = {
    "audit": ("Audit of the gradients", "Expected gradients against exact ones, midway between a bad energy and the "
              "truth, on a law of one dimension: what each objective estimates, with what bias, noise and cost, apart "
              "from how well it trains."),
    "cost": ("What a step costs", "One training step, timed in interleaved rounds; ×fb is the time in units of one "
             "forward and backward pass of the same network over the same batch."),
    "scaling": ("How a step's cost grows", "Along batch, width and dimension."),
}  # fmt: skip


@dataclass(frozen=True)
class Extra:
    """A section: a table as it stands in its file, and pictures as data URIs with their captions."""

    id: str
    title: str
    note: str
    table: pd.DataFrame
    pictures: list[tuple[str, str]] = field(default_factory=list)


def extras(root: Path, board: pd.DataFrame | None = None, published: Path = PUBLISHED) -> list[Extra]:
    """The sections whose files exist; published claims stand beside what `board`, a leaderboard, holds of the same."""
    found = []
    for name, (title, note) in _FILES.items():
        for folder in (root, root / name):
            if (path := folder / f"{name}.csv").exists():
                found.append(Extra(name, title, note, _read(path), _pictures(folder, name)))
    if published.exists():
        note = (
            "As the authors report them, on their own data, networks and budgets; what was measured here is beside it."
        )
        found.append(Extra("published", "Published claims", note, _beside(_read(published), board)))
    return found


def times_fb(sections: list[Extra]) -> dict[str, float]:
    """The cost of a step in forward-and-backward passes, by objective, where it was measured."""
    for section in sections:
        if section.id == "cost" and {"objective", "times_fb"} <= set(section.table.columns):
            return {str(k): float(v) for k, v in section.table.groupby("objective")["times_fb"].median().items()}
    return {}


def _beside(claims: pd.DataFrame, board: pd.DataFrame | None) -> pd.DataFrame:
    """The claims, with the value that was measured here on the same data set by the same metric."""
    if board is None or not {"objective", "dataset", "metric"} <= set(claims.columns):
        return claims
    measured = {
        (line["objective"], line["dataset"], str(line["metric"]).removesuffix("_best").removesuffix("_ema")): line[
            "shown"
        ]
        for line in board.to_dict("records")
    }
    keys = claims[["objective", "dataset", "metric"]].itertuples(index=False, name=None)
    return claims.assign(**{"measured here": [measured.get(key, "not measured here") for key in keys]})


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except ValueError as error:
        raise UsageError(f"{path} must be a CSV table with a header; {error}: write it again, or delete it") from None


def _pictures(root: Path, name: str) -> list[tuple[str, str]]:
    files = sorted([*root.glob(f"{name}*.png"), *(root / "plots").glob(f"{name}*.png")])
    return [
        (words(file.stem.replace("-", " ")), "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode())
        for file in files
    ]


def shown(frame: pd.DataFrame) -> list[list[tuple[str, str]]]:
    """The cells of a table as (text, what it sorts by)."""
    text = table.worded(frame)
    return [
        [
            (str(t), "" if pd.isna(v) else str(v) if isinstance(v, int | float) else str(t))
            for t, v in zip(ts, vs, strict=True)
        ]
        for ts, vs in zip(text.itertuples(index=False), frame.itertuples(index=False), strict=True)
    ]
