"""Denoising score matching at many levels by one energy: the level that it answers for, and how it is sampled."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Rng
from bench.plugins import builders

NAME = "multiscale_denoising_score_matching_static"
N, DIM = 2_000, 16
LIKE = torch.zeros(N, DIM, dtype=torch.float64)


def points(x: Tensor, sigma_0: float, share: float = 0.5) -> Tensor:
    """The energy of two points at ±2 in each coordinate under noise sigma_0, up to a constant."""
    squares = [(x - side * 2).square().sum(-1) / (2 * sigma_0**2) for side in (-1, 1)]
    return -torch.stack([math.log(w) - s for w, s in zip((share, 1 - share), squares, strict=True)]).logsumexp(0)


@pytest.mark.parametrize("given", [{"sigma_min": 0.05, "sigma_units": "data"}, {"sigma_min": 0.5}, {"ratio": 1.0}, {}])
def test_the_answer_is_scaled_for_a_level_of_the_range_in_whatever_unit_it_is_given(given: dict[str, Any]) -> None:
    """Of data 0 the energy ‖x‖²/2σ₀² leaves no error at any level."""
    objective = builders.objective(NAME, LIKE[:8], Rng(0), local_scale=0.1, sigma_max=6.0, **given)
    values = objective.values
    sigma_0 = float(values["ratio"]) * float(values["sigma_min"])
    assert sigma_0 == pytest.approx(0.05 if "ratio" in given else 0.1)
    losses = objective(lambda x: x.square().sum(-1) / (2 * sigma_0**2), LIKE, Rng(1))
    assert float(losses.detach().abs().max()) < 1e-20
    wrong = objective(lambda x: x.square().sum(-1) / (2 * 1.1 * sigma_0**2), LIKE, Rng(1))
    assert float(wrong.detach().mean()) == pytest.approx(0.5 * DIM * (1 - 1 / 1.1) ** 2, rel=4 * math.sqrt(2 / DIM / N))


def test_its_own_sampler_ends_at_the_data_from_noise_as_large_as_the_largest_level() -> None:
    objective = builders.objective(NAME, LIKE[:8], Rng(0), local_scale=0.1, sigma_max=6.0)

    def drawn(energy: Any) -> Tensor:
        found = objective.sample(energy, LIKE, Rng(1))
        assert found is not None
        return found

    ends = drawn(lambda x: points(x, 0.1))
    assert float((ends.abs() - 2).abs().max()) < 1e-3
    left = (ends[:, 0] < 0).double()
    assert abs(float(left.mean()) - 0.5) < 4 * math.sqrt(0.25 / N)
    assert bool((ends.sign() == ends[:, :1].sign()).all()), "no coordinate is of the other point"
    # an energy that answers for another level leads elsewhere
    assert float((drawn(lambda x: points(x, 0.2)).abs() - 2).abs().mean()) > 0.05
