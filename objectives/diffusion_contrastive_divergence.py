"""Diffusion contrastive divergence, one step: an exact draw from the posterior of the linearised energy."""

from typing import Annotated

import torch
from torch import Tensor

from bench.api import Choice, Energy, Integer, Rng, Sigma, noised, objective, score


@objective(
    label="DCD-1step",
    family="diffusion contrastive divergence",
    divergence="diffusion contrastive",
    bias={"sigma": 2},
    source="Luo et al. 2023, Training energy-based models with diffusion contrastive divergences, arXiv 2307.01668",
    note="No energy holds data whose narrowest standard deviation is below sigma.",
    proof={"sigma": 0.05},
)
def diffusion_contrastive_divergence(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Sigma(1e-2, 2.0)] = 0.5,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
    signs: Annotated[int, Integer(1, 2)] = 2,
) -> Tensor:
    r"""E(x) - E(x'), x' = sg(z - v∇E(z) + √v ξ), z = y/α, y = αx + σε, v = (σ/α)², with ε, ξ ~ N(0, I).

    The gradient of KL(p‖q) - KL(p_T‖q_T), for q_T the law of y when x ~ q, is E_p[∇θE(x)] - E_y E_{q(x'|y)}[∇θE(x')]:
    the negative is a draw of the posterior q(x'|y) ∝ exp(-E(x') - ‖x' - z‖²/2v), not the noised point. With E
    linearised at z that posterior is a Gaussian, drawn here exactly: drift v and noise √v, where a Langevin step of
    size v would drift by v/2. The relative error of the expected gradient is O(v); v -> 0 is score matching. Hence it
    is stationary at q = p up to O(v): on N(0, s²) at the variance v / (1 - √((1 - r)/(1 + r))) with r = v/s², which is
    s²(1 + r/2) for small r and exists only for r < 1.

    E(x) - E(x') is of order σ, its mean of order σ². With `signs` = 2 each noise is used with both signs, and the
    two losses are averaged: the mean is the same, the terms odd in the noise cancel.

    Args:
        x: data (*batch, *event).
        sigma: σ, well below the narrowest standard deviation of the data; given in units of local_scale.
        kernel: "ve", α = 1, or "vp", α² = 1 - σ²; the latter is the former at σ/α.
        signs: 1 or 2.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    noise, spread = rng.normal_like(x), rng.normal_like(x)

    def negative(sign: int) -> Tensor:
        _, z, v, _ = noised(x, sign * noise, sigma, kernel)
        return z + v * score(energy, z) + sign * v.sqrt() * spread

    return energy(x) - torch.stack([energy(negative(sign)) for sign in (1, -1)[:signs]]).mean(0)
