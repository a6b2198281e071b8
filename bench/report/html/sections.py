"""Sections of the page that other commands leave behind: CSV tables and pictures beside a store; published claims."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.common.errors import UsageError
from bench.common.paths import PUBLISHED
from bench.results import denoising_table, leaderboard, standings, tables
from bench.results.labels import display_name
from bench.results.records import Record

CLAIM_COLUMNS = ("method", "dataset", "metric", "value", "source", "provenance", "note")
INCEPTION = "inception-v3-"  # an extractor's name begins so if published FIDs stand on it
CLAIMS = (
    "Values that others report, on their own data, networks and budgets, with where each was read: most come from "
    "later papers' tables and were not confirmed against the original. A FID among them is one on Inception features; "
    "no value of this page may stand beside it but one made with --inception from as many samples. Of "
    "diffusion contrastive divergence itself no value could be had. Re-measured: what this store's runs of that "
    "objective on that data set gave by the same metric; network and budget differ all the same."
)
# file, title, title in the page's menu, the command that writes it, what the reader should know
_FILES = {
    "audit": (
        "Audit of the gradients", "Audit", "audit",
        "Expected gradients against exact ones, midway between a bad energy and the truth, on a law of one dimension: "
        "what each objective estimates, with what bias, noise and cost, apart from how well it trains.",
    ),
    "cost": (
        "What a step costs", "Cost of a step", "cost",
        "One training step, timed in interleaved rounds; ×fb is the time in units of one forward and backward pass of "
        "the same network over the same batch.",
    ),
    "scaling": (
        "How a step's cost grows", "Scaling", "cost --scaling",
        "Along batch, width and dimension.",
    ),
    "rulers": (
        "Rulers of image metrics", "Rulers", "reference-metrics --dataset NAME",
        "Sets whose worth is known, against the training images. A value is read between the test images, the floor, "
        "and the pixel Gaussian, the first thing to beat; only at the same n and by the same extractor.",
    ),
    "fid": (
        "Saved samples", "Samples", "image-metrics",
        "Image metrics of the samples that the runs have saved, against the training images; only the same n and the "
        "same extractor compare.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A section: a table as it stands in its file, and pictures as data URIs with their captions.

    Attributes:
        short: the title in the page's menu.
        made: by which command, of which runs or commit; in the little Markdown of captions.
    """

    id: str
    title: str
    short: str
    made: str
    note: str
    table: pd.DataFrame
    pictures: list[tuple[str, str]] = field(default_factory=list)


def page_sections(root: Path, records: Sequence[Record], published: Path = PUBLISHED) -> list[Section]:
    """The sections whose files exist; last what others claim of the records' data sets and metrics, if anything."""
    found = []
    for name, (title, short, command, note) in _FILES.items():
        for folder in (root, root / name):
            if (path := folder / f"{name}.csv").exists():
                made = f"*`python -m bench {command}` into `{path.name}`.*"
                found.append(Section(name, title, short, made, note, _read(path), _pictures(folder, name)))
    shown = claims(published, records) if published.exists() else pd.DataFrame()
    if len(shown := shown[_is_measured(shown, records)] if len(shown) else shown):
        made = f"*`results/{published.name}`.*"
        found.append(Section("published", "Published values", "Published", made, CLAIMS, shown))
    return found


def denoised(root: Path, records: Sequence[Record]) -> list[Section]:
    """A section for each suite that denoised images: who did how well, and the strips that its plots hold."""
    found: list[Section] = []
    for place in dict.fromkeys((record.spec.suite, record.dataset) for record in records):
        suite, dataset = place
        chosen = [r for r in records if (r.spec.suite, r.dataset) == place]
        shown = denoising_table.denoising_frame(chosen)
        if len(shown):
            made = standings.provenance(chosen)
            title = f"Denoised {display_name(dataset.partition('[')[0])}: {display_name(suite)}"
            files = _pictures(root, f"{suite}-denoised-{dataset.partition('[')[0]}")
            pictures = [(f"Held-out image {k}, σ = 25 of 255", uri) for k, (_, uri) in enumerate(files, start=1)]
            note = denoising_table.READING
            found.append(Section(f"denoised-{suite}-{len(found)}", title, "Denoised", made, note, shown, pictures))
    return found


def claims(path: Path, records: Sequence[Record] = ()) -> pd.DataFrame:
    """Published values beside what was re-measured, in words.

    Method, data set, metric, `claimed`, `re-measured`, source, provenance and note. A claim that names one of our
    objectives in a column `objective` is matched with its runs on the data set of that name; whatever else differs,
    and an extractor that is not the claim's, is said in the cell. No claim ranks anything.

    Raises:
        UsageError: if a column is missing.
    """
    read = _read(path)
    if missing := [column for column in CLAIM_COLUMNS if column not in read.columns]:
        raise UsageError(f"{path} must have the columns {', '.join(CLAIM_COLUMNS)}; it lacks {', '.join(missing)}")
    found = read[list(CLAIM_COLUMNS)].rename(columns={"value": "claimed"})
    absent = {"claimed": "not to be had"}
    shown = pd.DataFrame({c: found[c].astype("object").fillna(absent.get(c, "")) for c in found.columns})
    board = leaderboard.leaderboard_frame(records)
    again = [_measured_again(line, board) for line in read.to_dict("records")]
    shown.insert(list(shown.columns).index("claimed") + 1, "re-measured", pd.Series(again, dtype="object"))
    return shown


def _is_measured(claims: pd.DataFrame, records: Sequence[Record]) -> list[bool]:
    """Which claims are of a data set and a metric that the records have: others say nothing beside them."""
    known = {(_bare(record.dataset), key.column) for record in records for key in record.values}
    return [
        any(_bare(str(dataset)) == own and column.startswith(str(metric).lower()) for own, column in known)
        for dataset, metric in zip(claims["dataset"], claims["metric"], strict=True)
    ]


def _measured_again(claim: dict[Any, Any], board: pd.DataFrame) -> str:
    """What the leaderboard has of a claim's objective, data set and metric, or that it has nothing."""
    if board.empty or not isinstance(claim.get("objective"), str):
        return "no"
    own = board[
        (board["name"] == claim["objective"])
        & (board["dataset"].map(_bare) == _bare(str(claim["dataset"])))
        & board["metric"].str.startswith(str(claim["metric"]).lower())
        & board["mean"].notna()
    ]
    return "; ".join(map(_with_its_basis, own.to_dict("records"))) or "no"


def _on_other_features(basis: str) -> bool:
    """Whether an image metric stands on features of another network than published values; others have none."""
    return basis.startswith("n = ") and INCEPTION not in basis


def _with_its_basis(line: dict[Any, Any]) -> str:
    text = f"{line['shown']}, suite {line['suite']}"
    if not line["basis"]:
        return text
    return f"{text}, {line['basis']}" + ": not comparable, other features" * (_on_other_features(line["basis"]))


def _bare(name: str) -> str:
    """A data set's name without parameters, capitals and signs."""
    return re.sub("[^a-z0-9]", "", name.partition("[")[0].lower())


def fwd_bwd_ratio(sections: list[Section]) -> dict[str, float]:
    """The cost of a step in forward-and-backward passes, by objective, where it was measured."""
    for section in sections:
        if section.id == "cost" and {"objective", "fwd_bwd_ratio"} <= set(section.table.columns):
            return {str(k): float(v) for k, v in section.table.groupby("objective")["fwd_bwd_ratio"].median().items()}
    return {}


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except ValueError as error:
        raise UsageError(f"{path} must be a CSV table with a header; {error}: write it again, or delete it") from None


def _pictures(root: Path, name: str) -> list[tuple[str, str]]:
    files = sorted([*root.glob(f"{name}*.png"), *(root / "plots").glob(f"{name}*.png")])
    return [
        (
            display_name(file.stem.replace("-", " ")),
            "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode(),
        )
        for file in files
    ]


def table_cells(frame: pd.DataFrame) -> list[list[tuple[str, str]]]:
    """The cells of a table as (text, what it sorts by); names of plug-ins as a reader writes them."""
    if frame.empty:
        return []
    text = tables.format_cells(frame)
    for column in {"objective", "family", "dataset"} & set(text.columns):
        text[column] = text[column].map(display_name)
    return [
        [
            (str(t), "" if pd.isna(v) else str(v) if isinstance(v, int | float) else str(t))
            for t, v in zip(ts, vs, strict=True)
        ]
        for ts, vs in zip(text.itertuples(index=False), frame.itertuples(index=False), strict=True)
    ]
