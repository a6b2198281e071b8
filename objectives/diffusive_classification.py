"""Diffusive classification: which noise level was this point noised to?"""

from typing import Annotated

import torch
from torch import Tensor

from bench.api import (
    Energy,
    Integer,
    Linear,
    Log,
    Rng,
    Sigma,
    conditioned,
    largest_level,
    level_by_level,
    noise_levels,
    objective,
    per_example,
    score,
    sum_event,
)

STEPS = 20


def _level_by_level(
    energy: Energy, x_like: Tensor, rng: Rng, *, sigma_min: float, sigma_max: float, levels: int, **_: float
) -> Tensor:
    """Posterior chains down the trained levels: they lie too far apart for ancestral steps."""
    x = largest_level(energy, x_like, rng, sigma=sigma_max)
    return level_by_level(energy, x, rng, sigmas=noise_levels(sigma_min, sigma_max, levels, x_like), steps=STEPS)


@objective(
    label="DiffCLF",
    family="noise contrastive estimation",
    divergence="level classification",
    energy="noise",
    minimiser="smoothed",
    source="DiffCLF, 2026, arXiv 2601.21025",
    note="A classifier over noise levels beside denoising score matching: the former compares levels, and so sees the "
    "weights of far modes. Evaluated at sigma_min.",
    sampler=_level_by_level,
)
def diffusive_classification(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 0.5,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 5.0,
    levels: Annotated[int, Integer(2, 1000)] = 8,
    score_weight: Annotated[float, Linear(0.0, 100.0)] = 1.0,
) -> Tensor:
    r"""-log softmaxⱼ(-E(x̃, σⱼ))ₖ + (λ/2) ‖σₖ s(x̃, σₖ) + z‖², x̃ = x + σₖz, k uniform in 0..K-1, σ geometric.

    The law of k given x̃ is pₖ(x̃) / Σⱼ pⱼ(x̃), pⱼ = p * N(0, σⱼ²I): the cross-entropy is least where the energies are
    -log pⱼ up to one function of x̃ that all levels share, and the denoising term leaves of that only a constant.

    Args:
        energy: noise-conditional, energy(x, sigma) with sigma (*batch,).
        x: data (*batch, *event).
        sigma_min: the smallest noise level; given in units of local_scale.
        sigma_max: the largest, in units of x.
        levels: K, at the price of K forward passes an example.
        score_weight: λ.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    sigmas = noise_levels(sigma_min, sigma_max, levels, x)
    k = rng.integers(levels, x.shape[: rng.batch_ndim]).to(x.device)
    sigma, z = sigmas[k], rng.normal_like(x)
    noised = x + per_example(sigma, x) * z
    logits = torch.stack([-energy(noised, s.expand_as(sigma)) for s in sigmas], -1)
    surprise = logits.logsumexp(-1) - logits.gather(-1, k.unsqueeze(-1)).squeeze(-1)
    s = score(conditioned(energy, sigma), noised, create_graph=True)
    denoising = sum_event((per_example(sigma, x) * s + z).square(), rng)
    return surprise + 0.5 * score_weight * denoising
