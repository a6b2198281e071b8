"""Diffusion contrastive divergence, posterior chains started at the data."""

from typing import Annotated

from torch import Tensor

from bench.api import Choice, Energy, Integer, Log, Rng, StepSize, mala, noised, objective, tethered


@objective(
    family="diffusion contrastive divergence",
    source="this project, after Luo et al. 2023, arXiv 2307.01668",
)
def diffusion_contrastive_divergence_recovery_from_data(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Log(1e-2, 10.0)] = 0.5,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
    steps: Annotated[int, Integer(1, 1000)] = 10,
    step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
) -> Tensor:
    r"""E(x) - E(x'), x' ~ q(x|y)."""
    y, _, v, alpha = noised(x, rng.normal_like(x), sigma, kernel)
    posterior = tethered(energy, y, rng, sigma=sigma, alpha=alpha)
    epsilon = 1 / (1 / step_size + 1 / v)
    negatives = mala(posterior, x, rng, steps=steps, step_size=epsilon).x
    return energy(x) - energy(negatives)
