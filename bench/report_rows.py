"""What the page says of an objective, a cell and a run, as plain values for its templates."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench import plots, table
from bench.leaderboard import Standing
from bench.plain import plain
from bench.store import Store
from bench.table import FAILURES, Record

LOG_LINES = 12


def entry(
    store: Store, board: str, number: int, standing: Standing, records: Sequence[Record], costs: dict[str, float]
) -> dict[str, Any]:
    """One objective of a board: its cells, costs, particulars and runs."""
    own = [r for r in records if r.run.objective == standing.objective]
    spec = own[0].run.spec["objective"]
    noisy = sum(bool(r.get("time.noisy")) for r in own)
    columns = dict(zip(standing.rows["dataset"], standing.rows["metric"], strict=True))
    commits = {str(sha) for r in own if (sha := r.get("provenance.git_sha"))}
    return {
        "number": number,
        "id": f"{board}--{slug(standing.objective)}",
        "label": standing.objective,
        "name": plots.words(standing.objective),
        "family": plots.family(own[0].run),
        "control": standing.control,
        "mean_rank": standing.mean_rank,
        "succeeded": standing.succeeded,
        "state": _state(standing),
        "cells": {line["dataset"]: _cell(line, own) for line in standing.rows.to_dict("records")},
        **{column: standing.median(column) for column in ("train_seconds", "gflops", "peak_memory_mb")},
        "times_fb": costs.get(standing.objective),
        "noisy": f"{noisy} of {len(own)} runs were timed on a busy machine" if noisy else "",
        "about": {k: str(spec[k]) for k in ("source", "note", "minimiser", "energy") if spec.get(k)},
        "params": ", ".join(f"{k} = {v}" for k, v in spec["params"].items()) or "none",
        "command": _command(own, standing.objective),
        "commits": sorted(commits),
        "spec": json.dumps(plain(own[0].run.spec), indent=1),
        "runs": [run(record, columns[record.run.dataset]) for record in own],
        "logs": [log for record in own if (log := _log(store, record))],
    }


def _state(standing: Standing) -> str:
    if standing.control:
        return "control"
    if int(standing.rows["ok"].sum()) == 0:
        return "no result"
    runnable = int(standing.rows["planned"].sum() - standing.rows["skipped"].sum())
    return "all succeeded" if int(standing.rows["ok"].sum()) == runnable else "some failed or missing"


def _cell(line: dict[Any, Any], own: Sequence[Record]) -> dict[str, Any]:
    rank = None if pd.isna(line["rank"]) else int(line["rank"])
    words = str(line["shown"]) if rank is None else str(line["shown"]).removesuffix(f" (#{rank})")
    absent = bool(pd.isna(line["mean"]))
    value, _, rest = (words, "", "") if absent else words.partition(" ")
    reasons = {r.reason for r in own if r.run.dataset == line["dataset"] and r.status != "ok" and r.reason}
    reasons |= {
        str(e["reason"])
        for r in own
        if r.run.dataset == line["dataset"] and (e := r.estimate(line["metric"])) and not e.get("certified", True)
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


def columns(records: Sequence[Record]) -> dict[tuple[str, ...], str]:
    """The metric by which each data set of a board is ranked: what a run of it shows, or lacks."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(place(record), []).append(record)
    return {place: table.primary(found) or "" for place, found in groups.items()}


def place(record: Record) -> tuple[str, ...]:
    """What a run may be ranked within: suite, track, device, data set."""
    run = record.run
    return run.suite, str(run.spec["track"]), run.device, run.dataset


def mixed(records: Sequence[Record]) -> list[str]:
    """In what the runs of a table differ that their costs depend on, in words; nothing if they do not."""
    ran = [record for record in records if record.row is not None]
    kinds = {
        "devices": sorted({str(record.run.spec["device"]) for record in ran}),
        "environments": sorted({str(env)[:8] for record in ran if (env := record.get("env.env_id"))}),
    }
    return [f"{len(found)} {kind} ({', '.join(found)})" for kind, found in kinds.items() if len(found) > 1]


def run(record: Record, column: str) -> dict[str, Any]:
    """A line of the table of all runs."""
    measured = record.measured()
    estimate = record.estimate(column)
    return {
        "suite": record.run.suite,
        "objective": plots.words(record.run.objective),
        "family": plots.family(record.run),
        "dataset": plots.words(record.run.dataset),
        "track": str(record.run.spec["track"]).replace("_", " "),
        "device": record.run.device,
        "seed": record.run.seed,
        "status": record.status,
        "reason": record.reason,
        "metric": ", ".join(filter(None, [column, record.basis(column)])),
        "value": estimate.get("value"),
        "uncertified": "" if estimate.get("certified", True) else str(estimate.get("reason") or "not certified"),
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
    attempt = plots.newest(store, record.run)
    path = attempt.folder / "log.txt" if attempt else None
    lines = path.read_text(errors="replace").splitlines() if path and path.exists() else []
    if not any(line.strip() for line in lines):
        return None
    return {"dataset": plots.words(record.run.dataset), "seed": record.run.seed, "text": "\n".join(lines[-LOG_LINES:])}


def _command(own: Sequence[Record], objective: str) -> str:
    run = own[0].run
    reference = str(run.spec["objective"].get("ref", objective))
    reference += f"[{given}]" if (given := run.spec["objective"].get("given")) else ""
    datasets = ",".join(dict.fromkeys(str(r.run.spec["dataset"]["label"]) for r in own))
    choice = f"--objective {shlex.quote(reference)} --dataset {shlex.quote(datasets)}"
    return f"{run.command} {choice}"


def slug(label: str) -> str:
    """A label as part of an address."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", label).strip("-")
