"""Diffusion contrastive divergence, one exact draw from the posterior of the linearised energy."""

from typing import Annotated

from torch import Tensor

from bench.api import Choice, Energy, Log, Rng, noised, objective, score


@objective(
    family="diffusion contrastive divergence",
    source="Luo et al. 2023, arXiv 2307.01668",
)
def diffusion_contrastive_divergence(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Log(1e-2, 10.0)] = 0.05,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
) -> Tensor:
    r"""E(x) - E(x'), x' = z - v∇E(z) + √v ξ, z = y/α, y = αx + σε, v = (σ/α)², with ε, ξ ~ N(0, I)."""
    _, z, v, _ = noised(x, rng.normal_like(x), sigma, kernel)
    negatives = z + v * score(energy, z) + v.sqrt() * rng.normal_like(x)
    return energy(x) - energy(negatives)
