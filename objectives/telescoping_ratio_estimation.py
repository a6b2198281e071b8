"""Telescoping density-ratio estimation: many easy classifiers between noise levels in place of one hard one."""

from math import log, pi
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import softplus

from bench.api import (
    Energy,
    Integer,
    Log,
    Rng,
    Sigma,
    largest_level,
    level_by_level,
    noise_levels,
    objective,
    per_example,
    sum_event,
)

STEPS = 20


def _level_by_level(
    energy: Energy, x_like: Tensor, rng: Rng, *, sigma_min: float, sigma_max: float, levels: int
) -> Tensor:
    """Posterior chains down the trained levels: they lie too far apart for ancestral steps."""
    x = largest_level(energy, x_like, rng, sigma=sigma_max)
    return level_by_level(energy, x, rng, sigmas=noise_levels(sigma_min, sigma_max, levels, x_like), steps=STEPS)


@objective(
    label="TRE",
    family="noise contrastive estimation",
    energy="noise",
    minimiser="smoothed",
    source="Rhodes et al. 2020, Telescoping density-ratio estimation",
    note="Every level comes normalised: the ratios add up from a known Gaussian. Evaluated at sigma_min.",
    sampler=_level_by_level,
)
def telescoping_ratio_estimation(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 0.5,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 5.0,
    levels: Annotated[int, Integer(2, 1000)] = 8,
) -> Tensor:
    r"""sp(-rₖ(xₖ)) + sp(rₖ(xₖ₊₁)), xₖ = √(1-aₖ²) x + aₖz, z ~ N(0, I), rₖ = log pₖ - log pₖ₊₁, k uniform in 0..K-1.

    Logistic regression of each waymark against the next, the last against the noise p_K = N(0, I) itself (a_K = 1). The
    log ratios add up to log p₀/p_K, and each is of two laws that overlap. All share one energy,
    log pₖ(x) = -E(x/αₖ, σₖ) - d log αₖ with αₖ = √(1-aₖ²) and σₖ = aₖ/αₖ, so E(·, σ) is that of the data convolved with
    N(0, σ²I), with its constant. Each example draws one bridge k; its two waymarks share z.

    Args:
        energy: noise-conditional, energy(x, sigma) with sigma (*batch,).
        x: data (*batch, *event), of about unit scale, since the noise is.
        sigma_min: σ₀, the noise of the first waymark; given in units of local_scale.
        sigma_max: σ of the last waymark before the noise itself, in units of x.
        levels: K, the waymarks before the noise, at geometric σ.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    sigmas = noise_levels(sigma_min, sigma_max, levels, x)
    k = rng.integers(levels, x.shape[: rng.batch_ndim]).to(x.device)
    last = k == levels - 1
    low, high = sigmas[k], sigmas[(k + 1).clamp(max=levels - 1)]
    z, dim = rng.normal_like(x), x.flatten(rng.batch_ndim).shape[-1]

    def log_density(y: Tensor, sigma: Tensor) -> Tensor:
        scale = (1 + sigma.square()).sqrt()  # 1/α
        return dim * scale.log() - energy(per_example(scale, y) * y, sigma)

    def log_ratio(y: Tensor) -> Tensor:
        noise = -0.5 * sum_event(y.square(), rng) - 0.5 * dim * log(2 * pi)
        return log_density(y, low) - torch.where(last, noise, log_density(y, high))

    def waymark(sigma: Tensor) -> Tensor:
        return (x + per_example(sigma, x) * z) / per_example((1 + sigma.square()).sqrt(), x)

    upper = torch.where(per_example(last, x), z, waymark(high))
    loss: Tensor = softplus(-log_ratio(waymark(low))) + softplus(log_ratio(upper))
    return loss
