"""Chains that accept or reject: MALA and HMC."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.derivatives import Energy, energy_and_score, per_example, sum_event
from bench.core.rng import Rng
from bench.samplers.chain import Chain, Schedule, StepSize, expand_step_size, step_sizes, transitions


def mala(energy: Energy, x: Tensor, rng: Rng, *, steps: int, step_size: Schedule) -> Chain:
    """Langevin proposals with a Metropolis-Hastings test: q is exactly invariant.   (Roberts & Tweedie 1996)

    Accepts y with probability min(1, exp(E(x) - E(y)) k(x|y) / k(y|x)), k(y|x) = N(y; x + (ε/2) s(x), ε I).

    Args:
        x: starting points (*batch, *event); not changed.
        step_size: ε > 0 in squared units of x, one number or one a chain (*batch,); or a list of these, one
            a transition, whose last goes on.
    """
    schedule = step_sizes(step_size, x, rng)
    x = x.detach()
    here, drift = energy_and_score(energy, x)
    accepted = torch.zeros_like(here)
    for k in transitions(steps):
        epsilon = schedule[min(k, len(schedule) - 1)]
        z = rng.normal_like(x)
        y = x + 0.5 * epsilon * drift + epsilon.sqrt() * z
        there, drift_y = energy_and_score(energy, y)
        backward = sum_event((x - y - 0.5 * epsilon * drift_y).square(), rng) / epsilon.reshape(here.shape)
        log_ratio = here - there + 0.5 * (sum_event(z.square(), rng) - backward)
        # a non-finite proposal compares false, so it is rejected
        accept = rng.uniform_like(here).log() < log_ratio
        x, drift, here = (
            torch.where(per_example(accept, old), new, old) for new, old in ((y, x), (drift_y, drift), (there, here))
        )
        accepted = accepted + accept.to(accepted.dtype)
    return Chain(x, accepted / max(steps, 1))


def hmc(energy: Energy, x: Tensor, rng: Rng, *, steps: int, step_size: StepSize, leapfrogs: int = 5) -> Chain:
    """Hamiltonian Monte Carlo with unit mass: q is exactly invariant.   (Duane et al. 1987)

    One transition draws a momentum and takes `leapfrogs` steps of length √ε, so that one leapfrog is `mala` at the
    same ε; then a Metropolis test on the change of E(x) + ½‖momentum‖².
    """
    length = expand_step_size(step_size, x, rng).sqrt()
    x = x.detach()
    here, force = energy_and_score(energy, x)
    accepted = torch.zeros_like(here)
    for _ in transitions(steps):
        momentum = rng.normal_like(x)
        start = here + 0.5 * sum_event(momentum.square(), rng)
        y, force_y, there = x, force, here
        for _ in range(leapfrogs):
            momentum = momentum + 0.5 * length * force_y
            y = y + length * momentum
            there, force_y = energy_and_score(energy, y)
            momentum = momentum + 0.5 * length * force_y
        log_ratio = start - there - 0.5 * sum_event(momentum.square(), rng)
        accept = rng.uniform_like(here).log() < log_ratio
        x, force, here = (
            torch.where(per_example(accept, old), new, old) for new, old in ((y, x), (force_y, force), (there, here))
        )
        accepted = accepted + accept.to(accepted.dtype)
    return Chain(x, accepted / max(steps, 1))
