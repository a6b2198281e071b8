"""What the page says of an objective, a cell and a run, as plain values for its templates."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.report.bounds import MOST_LISTED, listed_part
from bench.results import labels, leaderboard
from bench.results.metric_values import MetricKey
from bench.results.records import FAILURES, Record
from bench.results.standings import Standing
from bench.results.store import Store

LOG_LINES = 12


def board_entry(
    store: Store,
    board: str,
    number: int,
    standing: Standing,
    records: Sequence[Record],
    costs: dict[str, float],
    most: int,
) -> dict[str, Any]:
    """One objective of a board: its cells, costs, particulars and at most so many of its runs, in a large store."""
    own = [r for r in records if r.objective == standing.objective]
    listed = listed_part(own, most if len(records) > MOST_LISTED else len(own))
    spec = own[0].spec.objective
    noisy = sum(bool(r.get("time.noisy")) for r in own)
    keys = dict(zip(standing.rows["dataset"], standing.rows["key"], strict=True))
    commits = {str(sha) for r in own if (sha := r.get("provenance.git_sha"))}
    return {
        "number": number,
        "id": f"{board}--{html_id(standing.objective)}",
        "label": standing.objective,
        "name": labels.display_name(standing.objective),
        "short": standing.objective.partition(" [")[0],
        "settings": standing.objective.partition(" [")[2].rstrip("]"),
        "full": own[0].spec.entry,
        "family": own[0].spec.objective.family,
        "control": standing.control,
        "mean_rank": standing.mean_rank,
        "place": "control" if standing.control else standing.place,
        "completed": standing.completed,
        "state": _state(standing),
        "cells": {line["dataset"]: _cell(line, own) for line in standing.rows.to_dict("records")},
        **{column: standing.median(column) for column in ("train_seconds", "gflops", "peak_memory_mb")},
        "fwd_bwd_ratio": costs.get(spec.label),
        "noisy": f"{noisy} of {len(own)} runs were timed on a busy machine" if noisy else "",
        "about": {k: str(v) for k in ("source", "note", "minimiser", "energy") if (v := getattr(spec, k))},
        "params": ", ".join(f"{k} = {v}" for k, v in spec.params.items()) or "none",
        "command": _command(own),
        "commits": sorted(commits),
        "spec": json.dumps(own[0].spec.to_dict(), indent=1),
        "runs": [run_entry(record, keys[record.dataset]) for record in listed.records],
        "runs_left_out": listed.left_out,
        "logs": [log for record in listed.records if (log := _log(store, record))],
    }


def _state(standing: Standing) -> str:
    if standing.control:
        return "control"
    if int(standing.rows["ok"].sum()) == 0:
        return "no result"
    runnable = int(standing.rows["planned"].sum() - standing.rows["skipped"].sum())
    return "all completed" if int(standing.rows["ok"].sum()) == runnable else "some failed or missing"


def _cell(line: dict[Any, Any], own: Sequence[Record]) -> dict[str, Any]:
    rank = None if pd.isna(line["rank"]) else int(line["rank"])
    words = str(line["shown"]) if rank is None else str(line["shown"]).removesuffix(f" (#{rank})")
    absent = bool(pd.isna(line["mean"]))
    value, _, rest = (words, "", "") if absent else words.partition(" ")
    reasons = {r.reason for r in own if r.dataset == line["dataset"] and r.status != "ok" and r.reason}
    reasons |= {
        r.value(line["key"]).reason for r in own if r.dataset == line["dataset"] and not r.value(line["key"]).certified
    }
    return {
        "rank": rank,
        "value": value,
        "rest": rest,
        "sort": None if pd.isna(line["mean"]) else float(line["mean"]),
        "uncertified": bool(line["uncertified"]),
        "word": absent,
        "failed": absent and words.split(" ")[0] in FAILURES,
        "title": "; ".join(sorted(reasons - {""})),
    }


def board_keys(records: Sequence[Record]) -> dict[tuple[str, ...], MetricKey | None]:
    """The metric by which each data set of a board is ranked: what a run of it shows, or lacks."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(ranking_group(record), []).append(record)
    return {place: leaderboard.primary_key(found) for place, found in groups.items()}


def ranking_group(record: Record) -> tuple[str, ...]:
    """What a run may be ranked within: suite, track, device, data set."""
    return *record.board, record.dataset


def differing_costs(records: Sequence[Record]) -> list[str]:
    """In what the runs of a table differ that their costs depend on, in words; nothing if they do not."""
    ran = [record for record in records if record.row is not None]
    kinds = {
        "devices": sorted({str(record.spec.device) for record in ran}),
        "environments": sorted({str(env)[:8] for record in ran if (env := record.get("env.env_id"))}),
    }
    return [f"{len(found)} {kind} ({', '.join(found)})" for kind, found in kinds.items() if len(found) > 1]


def run_entry(record: Record, key: MetricKey | None) -> dict[str, Any]:
    """A line of the table of all runs."""
    measured = record.measured()
    estimate = record.value(key)
    return {
        "suite": record.spec.suite,
        "objective": labels.display_name(record.objective),
        "family": record.spec.objective.family,
        "dataset": labels.display_name(record.dataset),
        "track": str(record.spec.track).replace("_", " "),
        "device": record.spec.place,
        "seed": record.spec.seed,
        "status": record.status,
        "reason": record.reason,
        "metric": ", ".join(filter(None, [key.column, estimate.basis])) if key else "",
        "value": estimate.value,
        "uncertified": "" if estimate.certified else estimate.reason or "not certified",
        "steps": measured["steps"],
        "train_seconds": measured["train_seconds"],
        "noisy": bool(record.get("time.noisy")),
        "gflops": None if (flops := measured["flops_train"]) is None else flops / 1e9,
        "peak_memory_mb": measured["peak_memory_mb"],
        "commit": str(record.get("provenance.git_sha") or "")[:10] + "+" * bool(record.get("provenance.git_dirty")),
        "began": str(record.get("provenance.began") or "")[:16].replace("T", " "),
        "environment": str(record.get("env.env_id") or ""),
    }


def _log(store: Store, record: Record) -> dict[str, Any] | None:
    """The end of what a run said."""
    attempt = record.attempt or store.newest_attempt(record.run)
    path = attempt.folder / "log.txt" if attempt else None
    lines = path.read_text(errors="replace", encoding="utf-8").splitlines() if path and path.exists() else []
    if not any(line.strip() for line in lines):
        return None
    return {
        "dataset": labels.display_name(record.dataset),
        "seed": record.spec.seed,
        "text": "\n".join(lines[-LOG_LINES:]),
    }


def _command(own: Sequence[Record]) -> str:
    about = own[0].spec.objective
    reference = (about.ref or about.name) + (f"[{about.given}]" if about.given else "")
    datasets = ",".join(dict.fromkeys(str(r.spec.dataset.label) for r in own))
    choice = f"--objective {shlex.quote(reference)} --dataset {shlex.quote(datasets)}"
    return f"{own[0].command} {choice}"


def html_id(label: str) -> str:
    """A label as part of an address."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", label).strip("-")
