"""The leaderboard as Markdown: what to pick, how sure that is, what it costs, and what failed and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench import denoising_table, samples_table, table
from bench.store import Store
from bench.table import FAILURES, Record

READING = (
    "Cells are mean ± half the width of Student's 95 % interval over the seeds, then the rank: the place in the order "
    "of the means, shared with the best entry above that a paired test (Holm-corrected) does not separate it from; one "
    "seed never separates. `?` marks a value that is not certified: it is shown and not ranked (results.csv has the "
    "reason). Entries with failed seeds are not ranked either. Cost is the median over all runs."
)


def markdown(store: Store, records: Sequence[Record], pictures: Iterable[Path] = ()) -> str:
    """The leaderboard of a store: a section for each suite, track and device."""
    parts = ["# Leaderboard", READING]
    drawn = list(pictures)
    boards: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        boards.setdefault((record.run.suite, record.run.spec["track"], record.run.device), []).append(record)
    for (suite, track, device), chosen in boards.items():
        parts += [f"## {suite} ({track.replace('_', ' ')}, {device})"]
        # classical denoisers alone have nothing to rank
        if not (board := table.leaderboard(chosen)).empty:
            parts += [caption(board), _ranking(board)]
        parts += [text for part in (samples_table, denoising_table) if (text := part.markdown(chosen))]
        parts += [f"![{path.stem}](plots/{path.name})" for path in drawn if path.stem.startswith(f"{suite}-")]
        parts += _troubles(chosen)
        parts += environments(store, chosen)
    return "\n\n".join(parts) + "\n"


def caption(group: pd.DataFrame) -> str:
    """What each data set is ranked by, with the ruler where the truth is known."""
    words = []
    for dataset, rows in group.groupby("dataset", sort=False):
        first = rows.iloc[0]
        if not first["metric"]:
            continue
        ruler = f"; entropy of the data {first['entropy']:.4f} nats" if pd.notna(first["entropy"]) else ""
        unit = f" in {first['unit']}" if first["unit"] else ""
        basis = f" ({first['basis']})" if first["basis"] else ""
        words.append(f"{dataset}: `{first['metric']}`{basis}{unit}, {first['better']} is better{ruler}")
    return ". ".join(words) + "." if words else "No run of this suite has a result yet."


@dataclass(frozen=True)
class Standing:
    """One objective on one board: its lines of `table.leaderboard`, one a data set, and what they amount to."""

    objective: str
    rows: pd.DataFrame
    mean_rank: float | None  # None unless it is ranked on every data set of the board

    @property
    def control(self) -> bool:
        return bool(self.rows["control"].any())

    @property
    def succeeded(self) -> str:
        """ "14 of 15": runs with a result, of those that could run."""
        planned, ok = int(self.rows["planned"].sum() - self.rows["skipped"].sum()), int(self.rows["ok"].sum())
        return f"{ok} of {planned}" if planned else "skipped"

    def median(self, column: str) -> float | None:
        """The median over data sets of a cost, which is itself a median over seeds."""
        value = self.rows[column].astype(float).median()
        return None if pd.isna(value) else float(value)


def standings(group: pd.DataFrame) -> list[Standing]:
    """The objectives of one board in the order in which they are shown: the best mean rank first, controls last."""
    found = []
    datasets = group["dataset"].nunique()
    for objective, rows in group.groupby("objective", sort=False):
        ranks = rows["rank"].dropna()
        unranked = datasets - len(ranks)  # a mean over the data sets that suit an entry would flatter it
        standing = Standing(str(objective), rows, None if unranked else float(ranks.mean()))
        level = rows["mean"].fillna(float("inf")).mean()
        found.append(((standing.control, unranked, ranks.mean() if len(ranks) else 0.0, level), standing))
    return [standing for _, standing in sorted(found, key=lambda pair: pair[0])]


def headings(group: pd.DataFrame) -> dict[str, str]:
    """By data set, what stands over its column: an image metric with what it stands on, or just the data set."""
    found = {}
    for dataset, rows in group.groupby("dataset", sort=False):
        first = rows.iloc[0]
        found[str(dataset)] = f"{dataset}: {first['metric']}, {first['basis']}" if first["basis"] else str(dataset)
    return found


def ranking(records: Sequence[Record]) -> str:
    """The table of one suite: objectives as rows, data sets as columns."""
    return _ranking(table.leaderboard(records))


def ranking_table(group: pd.DataFrame) -> pd.DataFrame:
    """Objectives as rows, data sets as columns, in text."""
    heads = headings(group)
    lines = [
        {
            "objective": f"{standing.objective} (control)" if standing.control else standing.objective,
            "mean rank": "not ranked" if standing.mean_rank is None else f"{standing.mean_rank:.1f}",
            **dict(zip(standing.rows["dataset"].map(heads), standing.rows["shown"], strict=True)),
            "succeeded": standing.succeeded,
            "train s": _number(standing.median("train_seconds")),
            "GFLOPs": _number(standing.median("gflops")),
        }
        for standing in standings(group)
    ]
    return pd.DataFrame(lines).fillna("not run")


def _ranking(group: pd.DataFrame) -> str:
    return table.markdown(ranking_table(group))


def _number(value: float | None) -> str:
    return "n/a" if value is None or pd.isna(value) else f"{value:.3g}"


@dataclass(frozen=True)
class Trouble:
    """Runs of one cell that have no result for the same reason."""

    status: str
    objective: str
    dataset: str
    reason: str
    seeds: tuple[int, ...]


def troubles(records: Sequence[Record]) -> list[Trouble]:
    """Runs without a result, alike ones together: failures first, then what was skipped or not run."""
    grouped: dict[tuple[str, str, str, str], list[int]] = {}
    for record in records:
        if record.status != "ok":
            key = (record.status, record.run.objective, record.run.dataset, record.reason)
            grouped.setdefault(key, []).append(record.run.seed)
    found = [Trouble(*key, tuple(seeds)) for key, seeds in grouped.items()]
    return sorted(found, key=lambda t: (t.status not in FAILURES, t.status, t.objective, t.dataset, t.reason))


def _troubles(records: Sequence[Record]) -> list[str]:
    lines = [
        f"- **{t.status}** {t.objective} on {t.dataset}, seed{'s' * (len(t.seeds) > 1)} "
        f"{', '.join(map(str, t.seeds))}: {t.reason}"
        for t in troubles(records)
    ]
    return ["Without a result:", "\n".join(lines)] if lines else []


def environments(store: Store, records: Sequence[Record]) -> list[str]:
    """What the runs were made on; a warning where that differs within a table."""
    ids = list(dict.fromkeys(env for r in records if (env := r.get("env.env_id"))))
    described = []
    for env_id in ids:
        found = store.environment(env_id)
        about = ", ".join(f"{k} {v}" for k, v in found.items() if isinstance(v, str | int) and k != "env_id")
        described.append(f"{about} (environment `{env_id[:8]}`)")
    if not described:
        return []
    warning = "**These runs come from different environments: compare their costs with care.** " * (len(ids) > 1)
    return [f"{warning}Made on: " + "; ".join(described) + "."]


def provenance(records: Sequence[Record]) -> str:
    """Which runs of a suite these are, and the command that makes them again."""
    commits = sorted(
        {
            str(sha)[:10] + " with changes" * bool(r.get("provenance.git_dirty"))
            for r in records
            if (sha := r.get("provenance.git_sha"))
        }
    )
    ok, seeds = sum(record.status == "ok" for record in records), sorted({record.run.seed for record in records})
    return (
        f"*`{records[0].run.command}`, seeds {', '.join(map(str, seeds))}: {ok} of {len(records)} runs "
        f"succeeded; commit {', '.join(commits) or 'unknown'}.*"
    )
