"""Diffusion contrastive divergence, the noised energy expanded by one step of the Fokker-Planck equation."""

from typing import Annotated

import torch
from torch import Tensor

from bench.api import Choice, Energy, Log, Rng, hessian_product, noised, objective, sum_event


@objective(
    family="diffusion contrastive divergence",
    source="Luo et al. 2023, arXiv 2307.01668",
)
def diffusion_contrastive_divergence_fokker_planck(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Log(1e-2, 10.0)] = 0.03,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
) -> Tensor:
    r"""E(x) - U(y), U = E + T[∇·f - f·∇E + ½(ΔE - ‖∇E‖²)]."""
    y, _, _, alpha = noised(x, rng.normal_like(x), sigma, kernel)
    v = rng.rademacher_like(y)
    s, product = hessian_product(energy, y, v)
    change = sum_event(v * product - s.square(), rng)
    if kernel == "vp":
        change = change - sum_event(1 + y * s, rng)
    time = -2 * alpha.log() if kernel == "vp" else sigma**2
    return energy(x) - energy(y) - 0.5 * time * change
