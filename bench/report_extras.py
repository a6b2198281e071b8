"""Sections of the page that other commands leave behind: CSV tables and pictures beside a store; published claims."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bench import denoising_table, table
from bench.errors import UsageError
from bench.plots import words
from bench.table import Record

PUBLISHED = Path(__file__).resolve().parent.parent / "results" / "published.csv"
CLAIM_COLUMNS = ("method", "dataset", "metric", "value", "source", "provenance", "note")
CLAIMS = (
    "Values that others report, on their own data, networks and budgets, with where each was read: most come from "
    "later papers' tables and were not confirmed against the original. A FID among them is one on Inception features; "
    "no value of this page may stand beside it but one made with --inception from as many samples. Of "
    "diffusion contrastive divergence itself no value could be had."
)
# file, title, what the reader should know
_FILES = {
    "audit": ("Audit of the gradients", "Expected gradients against exact ones, midway between a bad energy and the "
              "truth, on a law of one dimension: what each objective estimates, with what bias, noise and cost, apart "
              "from how well it trains."),
    "cost": ("What a step costs", "One training step, timed in interleaved rounds; ×fb is the time in units of one "
             "forward and backward pass of the same network over the same batch."),
    "scaling": ("How a step's cost grows", "Along batch, width and dimension."),
    "rulers": ("Rulers of image metrics", "Sets whose worth is known, against the training images. A value is read "
               "between the test images, the floor, and the pixel Gaussian, the first thing to beat; only at the same "
               "n and by the same extractor."),
    "fid": ("Saved samples", "Image metrics of the samples that the runs have saved, against the training images; only "
            "the same n and the same extractor compare."),
}  # fmt: skip


@dataclass(frozen=True)
class Extra:
    """A section: a table as it stands in its file, and pictures as data URIs with their captions."""

    id: str
    title: str
    note: str
    table: pd.DataFrame
    pictures: list[tuple[str, str]] = field(default_factory=list)


def extras(root: Path, published: Path = PUBLISHED) -> list[Extra]:
    """The sections whose files exist; published claims come last, in a table of their own."""
    found = []
    for name, (title, note) in _FILES.items():
        for folder in (root, root / name):
            if (path := folder / f"{name}.csv").exists():
                found.append(Extra(name, title, note, _read(path), _pictures(folder, name)))
    if published.exists():
        found.append(Extra("published", "Claimed elsewhere, not re-measured here", CLAIMS, claims(published)))
    return found


def denoised(root: Path, records: Sequence[Record]) -> list[Extra]:
    """A section for each suite that denoised images: who did how well, and the strips that its plots hold."""
    found: list[Extra] = []
    for place in dict.fromkeys((record.run.suite, record.run.dataset) for record in records):
        suite, dataset = place
        shown = denoising_table.frame([r for r in records if (r.run.suite, r.run.dataset) == place])
        if len(shown):
            title = f"Denoised {words(dataset.partition('[')[0])}: {words(suite)}"
            files = _pictures(root, f"{suite}-denoised-{dataset.partition('[')[0]}")
            pictures = [(f"Held-out image {k}, σ = 25 of 255", uri) for k, (_, uri) in enumerate(files, start=1)]
            found.append(Extra(f"denoised-{suite}-{len(found)}", title, denoising_table.READING, shown, pictures))
    return found


def claims(path: Path) -> pd.DataFrame:
    """Published values as claims: method, data set, metric, `claimed`, source, provenance and note, in words.

    No claim is joined with a value of ours: data, networks, budgets and features of the metrics differ.

    Raises:
        UsageError: if a column is missing.
    """
    table = _read(path)
    if missing := [column for column in CLAIM_COLUMNS if column not in table.columns]:
        raise UsageError(f"{path} must have the columns {', '.join(CLAIM_COLUMNS)}; it lacks {', '.join(missing)}")
    found = table[list(CLAIM_COLUMNS)].rename(columns={"value": "claimed"})
    absent = {"claimed": "not to be had"}
    words = {column: found[column].astype("object").fillna(absent.get(column, "")) for column in found.columns}
    return pd.DataFrame(words)


def times_fb(sections: list[Extra]) -> dict[str, float]:
    """The cost of a step in forward-and-backward passes, by objective, where it was measured."""
    for section in sections:
        if section.id == "cost" and {"objective", "times_fb"} <= set(section.table.columns):
            return {str(k): float(v) for k, v in section.table.groupby("objective")["times_fb"].median().items()}
    return {}


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
