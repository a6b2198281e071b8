"""The objectives of a board in their order, their failures, and where the numbers come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.common.references import format_seeds
from bench.results import leaderboard, tables
from bench.results.records import FAILURES, Record

FIT = (
    "A reference fit is maximum likelihood by quadrature at a larger budget of its own: it shows what the network can "
    "hold, and is not ranked."
)
FLOOR = "A floor is the KL divergence of the law that an objective of noised data would learn perfectly."


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
        check = f"; {first['convergence']}" if first["convergence"] else ""
        words.append(f"{dataset}: `{first['metric']}`{basis}{unit}, {first['better']} is better{ruler}{check}")
    if not words:
        return "No run of this suite has a result yet."
    notes = [FIT] * bool(group["reference_fit"].any()) + [FLOOR] * bool(group["shown"].str.contains(", floor ").any())
    return " ".join([". ".join(words) + ".", *notes])


@dataclass(frozen=True)
class Standing:
    """One objective on one board: its lines of `leaderboard_frame`, one a data set, and what they amount to."""

    objective: str
    rows: pd.DataFrame
    mean_rank: float | None  # None unless it is ranked on every data set of the board

    @property
    def control(self) -> bool:
        return bool(self.rows["control"].any())

    @property
    def place(self) -> str:
        """The mean rank, or why there is none."""
        if self.mean_rank is not None:
            return f"{self.mean_rank:.1f}"
        one_seed = not self.control and bool((self.rows["planned"] == 1).all() and (self.rows["n"] == 1).all())
        return "not ranked: one seed" if one_seed else "not ranked"

    @property
    def completed(self) -> str:
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
    datasets = group.loc[group["ranked"], "dataset"].nunique()  # others have no ranks to give
    for objective, rows in group.groupby("objective", sort=False):
        ranks = rows["rank"].dropna()
        unranked = datasets - len(ranks)  # a mean over the data sets that suit an entry would flatter it
        standing = Standing(str(objective), rows, float(ranks.mean()) if datasets and not unranked else None)
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


def ranking_markdown(records: Sequence[Record]) -> str:
    """The table of one suite: objectives as rows, data sets as columns."""
    return board_markdown(leaderboard.leaderboard_frame(records))


def ranking_frame(group: pd.DataFrame) -> pd.DataFrame:
    """Objectives as rows, data sets as columns, in text."""
    heads = headings(group)
    lines = [
        {
            "objective": f"{standing.objective} (control)" if standing.control else standing.objective,
            "mean rank": standing.place,
            **dict(zip(standing.rows["dataset"].map(heads), standing.rows["shown"], strict=True)),
            "completed": standing.completed,
            "train s": format_number(standing.median("train_seconds")),
            "GFLOPs": format_number(standing.median("gflops")),
        }
        for standing in standings(group)
    ]
    return pd.DataFrame(lines).fillna("not run")


def board_markdown(group: pd.DataFrame) -> str:
    """The ranking of one board as a Markdown table."""
    return tables.markdown_table(ranking_frame(group))


def format_number(value: float | None) -> str:
    """Three digits; "n/a" where there is no number."""
    return "n/a" if value is None or pd.isna(value) else f"{value:.3g}"


@dataclass(frozen=True)
class Failure:
    """Runs of one cell that have no result for the same reason."""

    status: str
    objective: str
    dataset: str
    reason: str
    seeds: tuple[int, ...]


def failures(records: Sequence[Record]) -> list[Failure]:
    """Runs without a result, alike ones together: failures first, then what was skipped or not run."""
    grouped: dict[tuple[str, str, str, str], list[int]] = {}
    for record in records:
        if record.status != "ok":
            key = (record.status, record.objective, record.dataset, record.reason)
            grouped.setdefault(key, []).append(record.spec.seed)
    found = [Failure(*key, tuple(seeds)) for key, seeds in grouped.items()]
    return sorted(found, key=lambda t: (t.status not in FAILURES, t.status, t.objective, t.dataset, t.reason))


def provenance(records: Sequence[Record]) -> str:
    """Which runs of a suite these are, and the command that makes them again."""
    commits = sorted(
        {
            str(sha)[:10] + " with changes" * bool(r.get("provenance.git_dirty"))
            for r in records
            if (sha := r.get("provenance.git_sha"))
        }
    )
    ok, seeds = sum(record.status == "ok" for record in records), {record.spec.seed for record in records}
    versions = sorted({record.spec.suite_version or 1 for record in records})
    protocol = f"protocol version {', '.join(map(str, versions))}"
    marks = sorted({mark for record in records for mark in record.spec.contract})
    held = f" Not shown to keep the contract (`check`): {'; '.join(marks)}." if marks else ""
    return (
        f"*`{records[0].command}`, {protocol}, seeds {format_seeds(seeds)}: {ok} of {len(records)} runs completed; "
        f"commit {', '.join(commits) or 'unknown'}.{held}*"
    )
