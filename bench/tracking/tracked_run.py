"""A run as a tracking tool takes it: settings, curves, final values and pictures, in plain values."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bench.common.run_spec import RunSpec
from bench.results.metric_values import values_of_row
from bench.results.store import ARTEFACTS, Attempt

if TYPE_CHECKING:
    import numpy as np

SCALARS = (bool, int, float)


@dataclass(frozen=True)
class TrackedRun:
    """One run, finished or in training.

    Attributes:
        run_id: the same for an attempt wherever it is sent.
        name: objective, data set and seed, for a person.
        path: suite, objective, data set and seed, as parts of a path.
        settings: every setting of the run, "budget.steps" and the like.
        status: "ok", "diverged" and the like; "" in training.
        values: the final value of each metric by its column's name, seconds, FLOPs, memory.
        pictures: (H, W, 3) bytes by what they show.
    """

    run_id: str
    name: str
    path: tuple[str, ...]
    settings: Mapping[str, str]
    status: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)


class Tracker(Protocol):
    """Where runs are sent; `destination` tells two apart."""

    destination: str

    def send(self, run: TrackedRun, curve: list[dict[str, float]], *, last: bool) -> None:
        """Adds lines of a run's curve, each with its "step"; with the last of them its values and pictures."""

    def close(self) -> None:
        """Nothing more comes."""


def tracked(attempt: Attempt) -> TrackedRun:
    """The run of an attempt, as it is now."""
    intent = attempt.intent()
    spec = RunSpec.from_dict(intent["spec"])
    # what tells it from other runs of the seed: a table keeps these apart, too
    place = spec.place.partition(", ")[2]
    again = f"attempt {attempt.number}" if attempt.number > 1 else ""
    seed = ", ".join(filter(None, [f"seed {spec.seed}", place, "tuned" if spec.tuned else "", spec.role, again]))
    about = (spec.suite, spec.objective.label, spec.dataset.label, seed)
    settings = dict(_flat(intent["spec"]))
    row = attempt.row()
    if row is None:
        return TrackedRun(intent["run_id"], " · ".join(about[1:]), about, settings)
    return TrackedRun(
        intent["run_id"], " · ".join(about[1:]), about, settings, row["status"], _values(row), _pictures(attempt)
    )


def points(attempt: Attempt, after: int = 0) -> list[dict[str, float]]:
    """The numbers of a curve's lines, without those before `after`."""
    return [
        {key: float(value) for key, value in line.items() if isinstance(value, SCALARS)}
        for line in attempt.curve()[after:]
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(item)


def _values(row: Mapping[str, Any]) -> dict[str, float]:
    found = {key.column: value.value for key, value in values_of_row(row).items()}
    measured = {
        "train_seconds": (row.get("time") or {}).get("train_wall"),
        "flops_train": (row.get("work") or {}).get("flops_train"),
        "peak_memory_bytes": (row.get("memory") or {}).get("rss_peak"),
    }
    return {name: float(value) for name, value in {**found, **measured}.items() if value is not None}


def _pictures(attempt: Attempt) -> dict[str, np.ndarray]:
    import numpy as np
    from PIL import Image

    from bench.report.html.images import pictures

    return {
        name: np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))
        for name, uri in pictures(attempt.arrays(ARTEFACTS)).items()
    }
