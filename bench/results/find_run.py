"""A run of a store by the names that a person has for it."""

from __future__ import annotations

from pathlib import Path

from bench.common.errors import UsageError
from bench.results.attempt import Attempt
from bench.results.integrity import run_folders

_SHOWN = 5


def find_run(root: Path, run: str) -> Attempt:
    """The newest finished attempt at a run.

    Args:
        root: the store.
        run: "OBJECTIVE/DATASET/SEED" as tables name them, the attempt's folder within the store, or its `run_id`.

    Raises:
        UsageError: if there is none, or runs of several suites or cells go by that name.
    """
    folder = root / run
    if (folder / "row.json").is_file():
        return Attempt(folder)
    finished = [Attempt(path) for path in run_folders(root, "row.json")]
    found = [attempt for attempt in finished if run in _names(attempt) and (attempt.row() or {})["status"] == "ok"]
    if not found:
        known = sorted({_names(attempt)[0] for attempt in finished})
        shown = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
        raise UsageError(f"no completed run '{run}' in '{root}'; it has {shown or 'none'}")
    places = sorted({attempt.folder.parent for attempt in found})
    if len(places) > 1:
        listed = ", ".join(f"'{place.relative_to(root)}'" for place in places[:_SHOWN])
        raise UsageError(f"'{run}' must name one run of '{root}'; it names runs in {listed}: give a run's folder")
    return max(found, key=lambda attempt: attempt.number)


def _names(attempt: Attempt) -> list[str]:
    """What a run may be called, its usual name first."""
    intent = attempt.intent()
    objective, dataset = intent["spec"]["objective"], intent["spec"]["dataset"]["label"]
    called = [objective["label"], objective.get("short_label") or objective["label"]]
    return [*(f"{name}/{dataset}/{intent['seed']}" for name in called), str(intent["run_id"])]
