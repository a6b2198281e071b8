"""A store that is filled by hand, for tests of what is derived from rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from bench.common.run_spec import ObjectiveSpec, RunSpec
from bench.report.markdown.leaderboard_page import leaderboard_markdown
from bench.results import leaderboard, records, tables
from bench.results.store import Attempt, Planned, Store
from tests.helpers.toy_workers import toy_spec

NOISE = (0.0, 0.02, -0.01, 0.01, -0.02)


class Shelf:
    """A store that is filled by hand."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.specs: list[RunSpec] = []

    def plan(self, objective: str, seed: int, dataset: str = "line", *, control: bool = False, **more: Any) -> RunSpec:
        about = ObjectiveSpec(name=objective, label=objective, control=control, **_own_fields(more))
        spec = toy_spec(seed, about, dataset, **more)
        self.specs.append(spec)
        return spec

    def ran(self, objective: str, seed: int, kl: float | None, *, status: str = "ok", **more: Any) -> Attempt:
        outcome = {key: more.pop(key) for key in ("certified", "reason", "last_step", "metrics") if key in more}
        attempt = self.store.begin(Planned.of(self.plan(objective, seed, **more)))
        metrics = outcome.pop("metrics", {"kl": {"last": estimate(kl, certified=outcome.pop("certified", True))}})
        if status == "ok":
            measured = {"work": {"steps": 60, "flops_train": 2e9, "forwards": 7}, "time": {"train_wall": 1.5}}
            measured |= {"memory": {"rss_peak": 3_000_000}, "model": {"n_params": 81, "entropy": 1.1231}}
            outcome |= measured | {"metrics": metrics, "env": self.environment()}
        attempt.finish({"status": status, **outcome})
        return attempt

    def entry(self, objective: str, mean: float, seeds: int = 5, scale: float = 1.0, **more: Any) -> None:
        for seed in range(seeds):
            self.ran(objective, seed, mean + scale * NOISE[seed], **more)

    def environment(self) -> dict[str, str]:
        about_it = {"python": "3.11.7", "torch": "2.13.0", "processor": "A processor"}
        return {"env_id": self.store.keep_environment(about_it), **about_it}

    def records(self) -> list[records.Record]:
        return records.read_records(self.store, self.specs)

    def frame(self) -> pd.DataFrame:
        return tables.results_frame(self.store, self.specs)

    def board(self) -> pd.DataFrame:
        return leaderboard.leaderboard_frame(self.records()).set_index(["objective", "dataset"], drop=False)

    def page(self) -> str:
        return leaderboard_markdown(self.records())

    def line_of(self, objective: str) -> list[str]:
        """The cells of an objective's line in the leaderboard: name, mean rank, data sets, succeeded, cost."""
        (line,) = (line for line in self.page().splitlines() if re.match(rf"\| {objective}( \(control\))? ", line))
        return [cell.strip() for cell in line.strip("|").split("|")]


def _own_fields(more: dict[str, Any]) -> dict[str, Any]:
    """Those of an objective's fields that are among the others, taken out of them."""
    return {key: more.pop(key) for key in ("kind", "family") if key in more}


def estimate(value: float | None, **more: Any) -> dict[str, Any]:
    return {"value": value, "certified": True, "reason": "", "unit": "nats", "better": "lower", **more}
