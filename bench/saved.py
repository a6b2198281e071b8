"""Image metrics of the samples that the runs of a store have saved, on features of one's choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench import load, plots, table
from bench.declare import Data
from bench.errors import UsageError
from bench.fidelity import FEWEST, Registered
from bench.rng import Rng
from bench.rulers import compared, values
from bench.store import SAMPLES, Store


def saved(root: Path, device: torch.device, source: Registered | None = None) -> pd.DataFrame:
    """One line a run and sampler that left images: what it was, and the images against the run's own training images.

    Args:
        source: another extractor than the data sets' own, such as `fidelity.inception` of a file.

    Raises:
        UsageError: if no run of the store left enough images.
    """
    store = Store(root)
    built: dict[tuple[str, int], Data] = {}
    lines: list[dict[str, Any]] = []
    for record in table.read(store):
        attempt = plots.newest(store, record.run) if record.status == "ok" else None
        if attempt is None or not (attempt.folder / SAMPLES).exists():
            continue
        with np.load(attempt.folder / SAMPLES, allow_pickle=False) as arrays:
            sets = {name: torch.from_numpy(array).to(device) for name, array in arrays.items() if len(array) >= FEWEST}
        spec, key = record.run.spec["dataset"], (record.run.dataset, record.run.seed)
        if key not in built:
            built[key] = load.dataset(spec["ref"], Rng(record.run.seed, "data"), **spec["params"]).to(device)
        data = built[key]
        if source is None and data.extractor is None:
            continue
        about = {"suite": record.run.suite, "objective": record.run.objective, "dataset": record.run.dataset}
        for sampler, images in sets.items():
            found = values(compared(data, images, source))
            lines.append({**about, "seed": record.run.seed, "sampler": sampler, **found})
    if not lines:
        raise UsageError(f"'{root}' holds no run that left {FEWEST} images; run a suite of images into it first")
    return pd.DataFrame(lines)
