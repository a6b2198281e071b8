"""The probability flow: exact where every noised law is known, and doubtful where it may be wrong."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from bench.api import Data, Rng, TrainedEnergy, UsageError, flow_likelihood
from bench.evaluation.evaluator import evaluate
from bench.evaluation.likelihood.flow import score_and_divergence
from tests.helpers.mixtures import Mixture, data_of, measure, value_of

LEVELS = (0.05, 30.0)


def noised(law: Mixture, levels: tuple[float, float] = LEVELS, *, tilt: float = 0.0) -> TrainedEnergy:
    """The exact energy of a mixture under noise of every level, up to a constant; `tilt` adds a slope along x₁."""

    def energy(x: Tensor, sigma: Tensor) -> Tensor:
        variance = law.sd**2 + sigma.double().square()
        square = (x.double()[:, None] - law.centres).square().sum(-1) / (2 * variance[:, None])
        return (-(law.weights.log() - square).logsumexp(-1) + tilt * x[:, 0]).to(x)

    return TrainedEnergy(energy, levels=levels, conditional=True)


def smoothed_log_density(law: Mixture, x: Tensor) -> Tensor:
    weights: list[float] = law.weights.tolist()
    return Mixture(law.centres.tolist(), math.hypot(law.sd, LEVELS[0]), weights).log_density(x.double())


def spread(dim: int) -> Mixture:
    # along the diagonal, as a probe of signs is exact for a diagonal Hessian
    return Mixture([[1.5 / dim**0.5] * dim, [-1.5 / dim**0.5] * dim], 0.5, [0.3, 0.7])


@pytest.mark.parametrize("dim", [2, 8])
def test_the_flow_of_exact_energies_has_the_density_of_the_law(dim: int) -> None:
    law = spread(dim)
    data = data_of(law)
    x = data.test[:200]
    found = flow_likelihood(noised(law), x, data.train, Rng(0))
    error = found.log_density - smoothed_log_density(law, x)
    # what is left is that the noised law at the largest level is not quite normal, and m and Σ are those of 2,000 data
    assert float(error.abs().max()) < 0.02
    assert float(found.probe_spread.max()) == 0
    assert found.numerical_error < 0.005


def test_above_eight_dimensions_the_divergence_is_estimated_without_bias() -> None:
    law = spread(20)
    data = data_of(law)
    x = data.test[:300]
    found = flow_likelihood(noised(law), x, data.train, Rng(0))
    error = found.log_density - smoothed_log_density(law, x)
    assert abs(float(error.mean())) < 4 * float(error.std()) / math.sqrt(len(x)) + 0.02
    stated = float(found.probe_spread.square().mean().sqrt())
    assert 0.7 < stated / float(error.std()) < 1.4


def test_the_divergence_is_that_of_finite_differences() -> None:
    law = spread(3)
    x = data_of(law).test[:20]
    s, divergence = score_and_divergence(law.energy, x, torch.zeros_like(x), exact=True)
    torch.testing.assert_close(s, law.score(x))
    steps = 1e-5 * torch.eye(3, dtype=x.dtype)
    expected = sum((law.score(x + e)[:, i] - law.score(x - e)[:, i]) / 2e-5 for i, e in enumerate(steps))
    torch.testing.assert_close(divergence, torch.as_tensor(expected), rtol=1e-4, atol=1e-4)


def test_the_metric_is_the_entropy_at_the_truth_and_worse_for_a_fake() -> None:
    law = spread(2)
    data = data_of(law)
    right = measure("nll_flow", noised(law), data.train, data)
    assert right.certified, right.reason
    assert right.stderr is not None
    exact = -float(smoothed_log_density(law, data.test).mean())
    assert abs(value_of(right) - exact) < 4 * right.stderr
    fake = measure("nll_flow", noised(Mixture(law.centres.tolist(), 1.5, [0.3, 0.7])), data.train, data)
    assert value_of(fake) - value_of(right) > 4 * math.hypot(right.stderr, fake.stderr or 0.0)
    standardised = dataclasses.replace(data, unit=torch.full((2,), 3.0))
    found = measure("nll_flow", noised(law), data.train, standardised)
    assert value_of(found) == pytest.approx(value_of(right) + 2 * math.log(3))


def test_a_flow_that_begins_in_no_normal_law_is_not_certified() -> None:
    law = spread(2)
    data = data_of(law)
    short = measure("nll_flow", noised(law, (0.05, 1.0)), data.train, data)
    assert not short.certified
    assert "largest level" in short.reason
    rough = data_of(law)
    estimate = measure("nll_flow[tolerance=0.01]", noised(law), rough.train, rough)
    assert estimate.certified or "lower the tolerance" in estimate.reason


def test_an_energy_without_levels_has_no_flow() -> None:
    law = spread(2)
    data: Data = data_of(law)
    with pytest.raises(UsageError, match="range of noise levels"):
        flow_likelihood(TrainedEnergy(law.energy), data.test, data.train, Rng(0))
    static = TrainedEnergy(law.energy)
    found = evaluate({"last": static}, {"last": {}}, data, ["nll_flow"], Rng(0))
    assert found["nll_flow"]["last"]["reason"] == "n/a (needs noise_levels)"
    known = evaluate({"last": noised(law)}, {"last": {}}, data, ["nll_flow[points=16]"], Rng(0))
    assert known["nll_flow"]["last"]["value"] is not None
