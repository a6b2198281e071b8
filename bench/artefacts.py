"""What a run leaves for the pictures: densities and score errors on a grid, or images; read without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.calculus import Energy, score
from bench.declare import Data
from bench.quadrature import nodes, tabulate
from bench.store import ARTEFACTS

CELLS = 96
IMAGES = 64


def save(folder: Path, energy: Energy, samples: Tensor | str, data: Data) -> None:
    """Writes `artefacts.npz` into the run's folder.

    On a grid: `log_density` of the model and `log_truth`, (CELLS, CELLS) with x first, in nats; `score_error`, the
    length of the difference of their scores; `box`, (2, 2), its low and high corner. For images: `samples` and `data`,
    (IMAGES, C, H, W), in the data's own units.
    """
    if data.grid is not None and len(data.grid.low) == 2:
        _write(folder, _on_grid(energy, data))
    elif data.train.ndim == 4 and isinstance(samples, Tensor):
        _write(folder, {"samples": samples[:IMAGES], "data": data.test[:IMAGES]})


def _on_grid(energy: Energy, data: Data) -> dict[str, Tensor]:
    assert data.grid is not None
    like = data.train
    table = tabulate(energy, data.grid, CELLS, like=like)
    points, cell = nodes(data.grid, CELLS, dtype=like.dtype, device=like.device)
    maps = {"log_density": table.log_mass - float(np.log(cell))}
    if data.log_density is not None:
        maps["log_truth"] = data.log_density(points)
    if data.score is not None:
        maps["score_error"] = (score(energy, points) - data.score(points)).norm(dim=-1)
    shaped = {name: values.reshape(CELLS, CELLS) for name, values in maps.items()}
    return shaped | {"box": torch.tensor([data.grid.low, data.grid.high])}


def _write(folder: Path, arrays: dict[str, Tensor]) -> None:
    plain: dict[str, Any] = {name: values.detach().cpu().numpy().astype(np.float32) for name, values in arrays.items()}
    np.savez_compressed(folder / ARTEFACTS, **plain)
