"""Image metrics of the samples that the runs of a store have saved, on features of one's choice."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from bench.common.errors import UsageError
from bench.core.data_types import Data
from bench.core.rng import Rng
from bench.evaluation.image_fidelity import FEWEST, Registered
from bench.evaluation.reference_sets import compared, values
from bench.plugins import builders
from bench.results import records
from bench.results.store import SAMPLES, Store


def saved_sample_metrics(
    root: Path, device: torch.device, source: Registered | None = None, trusted: Collection[Path] = ()
) -> pd.DataFrame:
    """One line a run and sampler that left images: what it was, and the images against the run's own training images.

    Args:
        source: another extractor than the data sets' own, such as `image_fidelity.inception` of a file.
        trusted: files of data sets that may be run; a store is data, and what it names is not run for that alone.

    Raises:
        UsageError: if no run of the store left enough images, or a data set is of a file that is not trusted.
    """
    store = Store(root)
    built: dict[str, Data] = {}
    lines: list[dict[str, Any]] = []
    for record in records.read_records(store):
        attempt = (record.attempt or store.newest_attempt(record.run)) if record.status == "ok" else None
        arrays = attempt.arrays(SAMPLES) if attempt is not None else {}
        if not arrays:
            continue
        sets = {name: torch.from_numpy(array).to(device) for name, array in arrays.items() if len(array) >= FEWEST}
        spec = record.spec.dataset
        key = json.dumps([spec.ref, spec.params, spec.content, record.spec.seed], sort_keys=True, default=str)
        if key not in built:
            if spec.ref.endswith(".py") and Path(spec.ref).resolve() not in {path.resolve() for path in trusted}:
                raise UsageError(
                    f"the data set {spec.label} of this store is the file '{spec.ref}', which reading a store does not "
                    f"run: look at it, then add --trust {spec.ref}"
                )
            built[key] = builders.planned_dataset(spec, Rng(record.spec.seed, "data")).to(device)
        data = built[key]
        if source is None and data.extractor is None:
            continue
        about = {"suite": record.spec.suite, "objective": record.objective, "dataset": record.dataset}
        for sampler, images in sets.items():
            found = values(compared(data, images, source))
            lines.append({**about, "seed": record.spec.seed, "sampler": sampler, **found})
    if not lines:
        raise UsageError(f"No run with {FEWEST} saved images in '{root}'; run a suite of images with --out {root}.")
    return pd.DataFrame(lines)
