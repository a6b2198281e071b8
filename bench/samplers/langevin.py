"""Unadjusted Langevin chains on exp(-E), and the posterior that they sample given a noised point.

The step convention everywhere: x <- x + (ε/2) s(x) + √ε z, with ε = `step_size`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bench.core.derivatives import Energy, as_tensor_like, per_example, score, sum_event
from bench.core.rng import Rng
from bench.samplers.chain import Schedule, expand_step_size, step_sizes, transitions


def langevin(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    steps: int,
    step_size: Schedule,
    temperature: float = 1.0,
    noise: Sequence[Tensor] | None = None,
) -> Tensor:
    """Unadjusted Langevin: x <- x + (ε/2) s(x) + √(τε) z, z ~ N(0, I).   (Rossky et al. 1978; Parisi 1981)

    At τ = 1 its law tends to q ∝ exp(-E) as ε -> 0; on a Gaussian of variance v it is stationary at v / (1 - ε/4v).
    At another τ it samples exp(-E/τ).

    Args:
        x: starting points (*batch, *event); not changed.
        step_size: ε > 0 in squared units of x, one number or one a chain (*batch,); or a list of these, one
            a transition, whose last goes on.
        temperature: τ.
        noise: z of each transition, shaped as x; drawn if None.

    Returns:
        The end points, detached, (*batch, *event).
    """
    scales = [(0.5 * epsilon, (temperature * epsilon).sqrt()) for epsilon in step_sizes(step_size, x, rng)]
    x = x.detach()
    for k in transitions(steps):
        drift, spread = scales[min(k, len(scales) - 1)]
        x = x + drift * score(energy, x) + spread * (rng.normal_like(x) if noise is None else noise[k])
    return x


def exponential_langevin(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    shares: Sequence[float],
    variance: Tensor,
    noise: Sequence[Tensor] | None = None,
) -> Tensor:
    """Langevin by the exponential integrator of N(m, vI): x <- x + c v s(x) + √(c (2 - c) v) z, z ~ N(0, I).

    It is `langevin` with ε = 2cv at the temperature 1 - c/2, and leaves N(m, vI) invariant at every c; c = 1 draws from
    it at once. Where q is wider, of variance w > v, the chain is stationary at w (2 - c) / (2 - cv/w).

    Args:
        x: starting points (*batch, *event); not changed.
        shares: 0 < c <= 1 for each transition, the part of the way to the mean that is gone.
        variance: v in squared units of x, a scalar or one a chain (*batch,).
        noise: z of each transition, shaped as x; drawn if None.

    Returns:
        The end points, detached, (*batch, *event).
    """
    v, x = expand_step_size(variance, x, rng), x.detach()
    for k in transitions(len(shares)):
        z = rng.normal_like(x) if noise is None else noise[k]
        x = x + shares[k] * v * score(energy, x) + (shares[k] * (2 - shares[k]) * v).sqrt() * z
    return x


def posterior_energy(
    energy: Energy, y: Tensor, rng: Rng, *, sigma: float | Tensor, alpha: float | Tensor = 1.0
) -> Energy:
    """The posterior energy E(x) + ‖y - αx‖² / 2σ² of x given the noised point y = αx + σε, up to a constant.

    Chains on it sample q(x|y); σ and α are numbers or of batch shape (*batch,).
    """
    variance, scale = as_tensor_like(sigma, y).square(), as_tensor_like(alpha, y)

    def posterior(x: Tensor, *condition: Tensor) -> Tensor:
        pull = sum_event((y - per_example(scale, x) * x).square(), rng)
        return energy(x, *condition) + pull / (2 * variance)

    own_both, own_score = (getattr(energy, name, None) for name in ("energy_and_score", "closed_form_score"))
    if own_both is None and own_score is None:
        return posterior
    shrink, factor = per_example(scale, y), per_example(scale, y) / per_example(variance, y)
    if own_both is not None:

        def energy_and_score(x: Tensor, *condition: Tensor) -> tuple[Tensor, Tensor]:
            prior, drift = own_both(x, *condition)
            gap = y - shrink * x
            return prior + sum_event(gap.square(), rng) / (2 * variance), drift + factor * gap

        posterior.energy_and_score = energy_and_score  # type: ignore[attr-defined]
    if own_score is not None:

        def closed_form_score(x: Tensor, *condition: Tensor) -> Tensor:
            found: Tensor = own_score(x, *condition) + factor * (y - shrink * x)
            return found

        posterior.closed_form_score = closed_form_score  # type: ignore[attr-defined]
    return posterior
