"""The leaderboard as Markdown: what to pick, how sure that is, what it costs, and what failed and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench import table
from bench.store import Store
from bench.table import FAILURES, Record

READING = (
    "Cells are mean ± half the width of Student's 95 % interval over the seeds, then the rank: the place in the order "
    "of the means, shared with the best entry above that a paired test (Holm-corrected) does not separate it from; one "
    "seed never separates. `?` marks a value that is not certified: it is shown and not ranked (results.csv has the "
    "reason). Entries with failed seeds are not ranked either. Cost is the median over all runs."
)


def markdown(store: Store, records: Sequence[Record], pictures: Iterable[Path] = ()) -> str:
    """The whole page: a section for each suite, track and device."""
    board = table.leaderboard(records)
    parts = ["# Leaderboard", READING]
    drawn = list(pictures)
    for (suite, track, device), group in board.groupby(["suite", "track", "device"], sort=False):
        chosen = [
            r for r in records if (r.run.suite, r.run.spec["track"], r.run.spec["device"]) == (suite, track, device)
        ]
        parts += [f"## {suite} ({str(track).replace('_', ' ')}, {device})", _caption(group), _ranking(group)]
        parts += [f"![{path.stem}](plots/{path.name})" for path in drawn if path.stem.startswith(f"{suite}-")]
        parts += _troubles(chosen)
        parts += _environments(store, chosen)
    return "\n\n".join(parts) + "\n"


def _caption(group: pd.DataFrame) -> str:
    """What each data set is ranked by, with the ruler where the truth is known."""
    words = []
    for dataset, rows in group.groupby("dataset", sort=False):
        first = rows.iloc[0]
        if not first["metric"]:
            continue
        ruler = f"; entropy of the data {first['entropy']:.4f} nats" if pd.notna(first["entropy"]) else ""
        unit = f" in {first['unit']}" if first["unit"] else ""
        words.append(f"{dataset}: `{first['metric']}`{unit}, {first['better']} is better{ruler}")
    return ". ".join(words) + "." if words else "No run of this suite has a result yet."


def ranking(records: Sequence[Record]) -> str:
    """The table of one suite: objectives as rows, data sets as columns."""
    return _ranking(table.leaderboard(records))


def _ranking(group: pd.DataFrame) -> str:
    """Objectives as rows, data sets as columns; the best mean rank first, controls last."""
    lines = []
    datasets = group["dataset"].nunique()
    for objective, rows in group.groupby("objective", sort=False):
        ranks = rows["rank"].dropna()
        unranked = datasets - len(ranks)  # a mean over the data sets that suit an entry would flatter it
        planned, ok = int(rows["planned"].sum() - rows["skipped"].sum()), int(rows["ok"].sum())
        line = {
            "objective": f"{objective} (control)" if rows["control"].any() else str(objective),
            "mean rank": f"{ranks.mean():.1f}" if not unranked else "not ranked",
            **dict(zip(rows["dataset"], rows["shown"], strict=True)),
            "succeeded": f"{ok} of {planned}" if planned else "skipped",
            "train s": _number(rows["train_seconds"].median()),
            "GFLOPs": _number(rows["gflops"].median()),
        }
        level = rows["mean"].fillna(float("inf")).mean()
        order = (bool(rows["control"].any()), unranked, ranks.mean() if len(ranks) else 0.0, level)
        lines.append((order, line))
    return table.markdown(pd.DataFrame([line for _, line in sorted(lines, key=lambda pair: pair[0])]).fillna("not run"))


def _number(value: float | None) -> str:
    return "n/a" if value is None or pd.isna(value) else f"{value:.3g}"


def _troubles(records: Sequence[Record]) -> list[str]:
    """Failed, skipped and missing runs with their reasons, alike ones together."""
    grouped: dict[tuple[str, str, str, str], list[int]] = {}
    for record in records:
        if record.status != "ok":
            key = (record.status, record.run.objective, record.run.dataset, record.reason)
            grouped.setdefault(key, []).append(record.run.seed)
    if not grouped:
        return []
    lines = [
        f"- **{status}** {objective} on {dataset}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: {reason}"
        for (status, objective, dataset, reason), seeds in sorted(
            grouped.items(), key=lambda item: (item[0][0] not in FAILURES, item[0])
        )
    ]
    return ["Without a result:", "\n".join(lines)]


def _environments(store: Store, records: Sequence[Record]) -> list[str]:
    """What the runs were made on; a warning where that differs within a table."""
    ids = list(dict.fromkeys(env for r in records if (env := r.get("env.env_id"))))
    described = []
    for env_id in ids:
        found = store.environment(env_id)
        described.append(", ".join(f"{k} {v}" for k, v in found.items() if isinstance(v, str | int) and k != "env_id"))
    if not described:
        return []
    warning = "**These runs come from different environments: compare their costs with care.** " * (len(ids) > 1)
    return [f"{warning}Made on: " + "; ".join(described) + "."]
