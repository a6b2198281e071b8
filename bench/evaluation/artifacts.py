"""What a run leaves for the pictures: densities and score errors on a grid, or images; read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.data_types import Data
from bench.core.derivatives import Energy, score
from bench.core.quadrature import grid_points, tabulate
from bench.core.rng import Rng
from bench.evaluation.denoising import held_out, in_units, noisy
from bench.evaluation.feature_extractor import quantised
from bench.evaluation.trained_energy import TrainedEnergy
from bench.results.store import ARTEFACTS, SAMPLES

CELLS = 96
IMAGES = 64
POINTS = 1_000  # held-out ones that are shown where the density is unknown
STRIPS, SHOWN = 4, 25  # denoised images that are kept, and the noise, of 255, at which they are


def save(
    folder: Path,
    energy: Energy,
    samples: Mapping[str, Tensor | str],
    data: Data,
    rng: Rng,
    denoised: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes `artefacts.npz` into the run's folder.

    On a grid: `log_density` of the model and `log_truth`, (CELLS, CELLS) with x first, in nats, or, where it is
    unknown, held-out `points`, (POINTS, 2); `score_error`, the
    length of the difference of their scores; `box`, (2, 2), its low and high corner. For images, in the data's own
    units: `data` and `samples`, or `samples_own` and the like for each sampler, (IMAGES, C, H, W); of denoised images
    `clean`, `noisy_25`, `denoised_mean_25` and the like, (STRIPS, C, H, W), and `value_range`, (2,); all samples go
    into `samples.npz`, by the sampler's name, as uint8 images (n, C, H, W).

    Args:
        denoised: images without their noise, by method and level; those that a trained energy keeps come beside them.
    """
    if data.grid is not None and len(data.grid.low) == 2:
        _write(folder, _on_grid(energy, data))
    elif data.train.ndim == 4:
        drawn = {_named("samples", k): v[:IMAGES] for k, v in samples.items() if isinstance(v, Tensor)}
        if drawn or denoised is None:
            drawn["data"] = data.test[:IMAGES]
        if samples:
            _save_whole(folder, samples, data)
        removed = dict(denoised or {})
        if isinstance(energy, TrainedEnergy):
            kept = {name: r.images for found in energy.denoised.values() for name, r in found.items()}
            removed |= {name: images for name, images in kept.items() if images is not None}
        _write(folder, drawn | _strips(removed, data, rng))


def _save_whole(folder: Path, samples: Mapping[str, Tensor | str], data: Data) -> None:
    if data.value_range is None:
        return
    finite = {k or "samples": v for k, v in samples.items() if isinstance(v, Tensor) and v.isfinite().all()}
    images = {name: quantised(v, data.value_range).cpu().numpy() for name, v in finite.items()}
    np.savez_compressed(folder / SAMPLES, allow_pickle=False, **images)


def _strips(images: Mapping[str, Tensor], data: Data, rng: Rng) -> dict[str, Tensor]:
    if not images:
        return {}
    clean = held_out(data)
    drawn = {f"denoised_{name}": found[:STRIPS] for name, found in images.items() if name.endswith(f"_{SHOWN}")}
    y = noisy(clean, in_units(data, SHOWN), rng)
    span = torch.tensor(data.value_range)
    return drawn | {"clean": clean[:STRIPS], f"noisy_{SHOWN}": y[:STRIPS], "value_range": span}


def _named(name: str, suffix: str) -> str:
    return f"{name}_{suffix}" if suffix else name


def _on_grid(energy: Energy, data: Data) -> dict[str, Tensor]:
    assert data.grid is not None
    like = data.train
    table = tabulate(energy, data.grid, CELLS, like=like)
    points, cell = grid_points(data.grid, CELLS, dtype=like.dtype, device=like.device)
    maps = {"log_density": table.log_mass - float(np.log(cell))}
    if data.log_density is not None:
        maps["log_truth"] = data.log_density(points)
    if data.score is not None:
        maps["score_error"] = (score(energy, points) - data.score(points)).norm(dim=-1)
    shaped = {name: values.reshape(CELLS, CELLS) for name, values in maps.items()}
    if data.log_density is None:
        shaped["points"] = data.test[:POINTS]
    return shaped | {"box": torch.tensor([data.grid.low, data.grid.high])}


def _write(folder: Path, arrays: dict[str, Tensor]) -> None:
    plain: dict[str, Any] = {name: values.detach().cpu().numpy().astype(np.float32) for name, values in arrays.items()}
    np.savez_compressed(folder / ARTEFACTS, **plain)
