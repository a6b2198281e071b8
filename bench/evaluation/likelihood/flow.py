"""The likelihood of a noise-conditional energy along its probability flow.   (Song et al. 2021)"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.common.errors import UsageError
from bench.core.derivatives import Energy, hessian_product, laplacian
from bench.core.rng import Rng
from bench.evaluation.likelihood.base import BroadBase
from bench.evaluation.trained_energy import TrainedEnergy

EXACT_UP_TO = 8  # dimensions in which the divergence is the sum of its d terms; above it is estimated
WIDE_ENOUGH = 3.0  # times the data's largest standard deviation, from where on a noised law is taken for normal

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FlowLikelihood:
    """log q(x) of points at the smallest level, (n,), in nats, and what is known of its error.

    Attributes:
        probe_spread: of log q over two sets of probes, half their difference, (n,); 0 where the divergence is exact.
        evaluations: of the score, at all points.
        numerical_error: the mean absolute change of log q with a tenth of the tolerance, at some of the points.
        largest: the level at which the flow ends.
    """

    log_density: Tensor
    probe_spread: Tensor
    evaluations: int
    numerical_error: float
    largest: float


def flow_likelihood(
    energy: TrainedEnergy, x: Tensor, x_train: Tensor, rng: Rng, *, tolerance: float = 1e-4, checked: int = 32
) -> FlowLikelihood:
    r"""log q(x) = log N(x_T; m, Σ + σ_T²I) - ∫ σ ∇·s(x_σ, σ) dσ from the smallest level to the largest, σ_T.

    x_σ follows dx/dσ = -σ s(x, σ), s = -∇E(·, σ), whose flow carries each noised law into the next. The law at the
    largest level is taken for the normal one of the training data's mean and covariance, widened by σ_T; that is not
    checked here, and is close where σ_T is several times as wide as the data. By the adaptive Runge-Kutta method of
    orders 4 and 5 of scipy, in log σ, all points together; the divergence is exact in up to eight dimensions, above
    by Hutchinson's estimate with two Rademacher probes a point, kept along the flow.

    Args:
        x: points (n, *event).
        tolerance: relative and absolute, of a step.
        checked: points at which the numerical error is measured.

    Raises:
        UsageError: if the energy is not told noise levels, or knows one alone.
    """
    if energy.levels is None or not energy.has_range:
        raise UsageError(f"the flow needs an energy of a range of noise levels; got levels {energy.levels}")
    low, high = energy.levels
    exact = x[0].numel() <= EXACT_UP_TO
    probes = [torch.zeros_like(x)] if exact else [rng.rademacher_like(x).to(x.device) for _ in range(2)]
    found, calls = [], 0
    for probe in probes:
        values, count = _integrated(energy, x, x_train, probe, exact, (low, high), tolerance)
        found.append(values)
        calls += count
    some = slice(0, checked)
    finer, count = _integrated(energy, x[some], x_train, probes[0][some], exact, (low, high), tolerance / 10)
    both = torch.stack(found)
    spread = (both[0] - both[-1]).abs() / 2
    change = float((finer - found[0][some]).abs().mean())
    return FlowLikelihood(both.mean(0), spread, calls + count, change, high)


def _integrated(
    energy: TrainedEnergy,
    x: Tensor,
    x_train: Tensor,
    probe: Tensor,
    exact: bool,
    levels: tuple[float, float],
    tolerance: float,
) -> tuple[Tensor, int]:
    """log q of points, (n,), float64, and how many evaluations of the score it took."""
    from scipy.integrate import solve_ivp  # takes half a second to import

    n, event = len(x), x.shape[1:]
    low, high = (math.hypot(level, energy.noise) for level in levels)

    def slope(t: float, state: Array) -> Array:
        sigma = min(max(math.exp(t), low), high)
        points = torch.as_tensor(state[:-n].reshape(n, *event)).to(x)
        level = energy.at(sigma)
        assert level is not None
        found, divergence = score_and_divergence(level, points, probe, exact=exact)
        rate = torch.cat([-(sigma**2) * found.flatten().double(), sigma**2 * divergence.double()])
        ahead: Array = rate.cpu().numpy()
        return ahead

    start = np.concatenate([x.flatten().double().cpu().numpy(), np.zeros(n)])
    done: Any = solve_ivp(slope, (math.log(low), math.log(high)), start, method="RK45", rtol=tolerance, atol=tolerance)
    if not done.success:
        raise ArithmeticError(f"the flow stopped: {done.message}")
    end = torch.as_tensor(done.y[:, -1])
    last, gathered = end[:-n].reshape(n, -1), end[-n:]
    flat = x_train.flatten(1).double().cpu()
    covariance = torch.cov(flat.T).reshape(flat.shape[1], -1)
    noise = levels[1] ** 2 * torch.eye(flat.shape[1], dtype=torch.float64)
    terminal = torch.distributions.MultivariateNormal(flat.mean(0), covariance + noise)
    values: Tensor = terminal.log_prob(last) - gathered
    return values, int(done.nfev) * n


def score_and_divergence(energy: Energy, x: Tensor, probe: Tensor, *, exact: bool) -> tuple[Tensor, Tensor]:
    """(s(x), ∇·s(x)), (n, *event) and (n,); the divergence exact, or vᵀ∇s v for the probe v shaped as x."""
    if exact:
        s, curvature = laplacian(energy, x, Rng(0))
    else:
        s, product = hessian_product(energy, x, probe)
        curvature = (product * probe).flatten(1).sum(1)
    return s.detach(), -curvature.detach()


def terminal_doubt(x_train: Tensor, largest: float) -> str:
    """Why the law at the largest level is not to be taken for normal; empty if it may be."""
    base = BroadBase(x_train)
    widest = float(torch.linalg.matrix_norm(base.factor.double(), 2))
    if largest >= WIDE_ENOUGH * widest:
        return ""
    return f"the largest level, {largest:.3g}, is below {WIDE_ENOUGH:.0f} times the data's widest spread, {widest:.3g}"
