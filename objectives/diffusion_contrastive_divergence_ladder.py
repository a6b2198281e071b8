"""Diffusion contrastive divergence over several noise scales."""

from typing import Annotated

from torch import Tensor

from bench.api import Choice, Energy, Integer, Log, Rng, StepSize, mala, noised, objective, tethered


@objective(
    family="diffusion contrastive divergence",
    source="Luo et al. 2023, arXiv 2307.01668; weights of Gao et al. 2021, arXiv 2012.08125",
)
def diffusion_contrastive_divergence_ladder(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Log(1e-2, 10.0)] = 0.1,
    sigma_max: Annotated[float, Log(1e-2, 10.0)] = 1.0,
    levels: Annotated[int, Integer(2, 100)] = 4,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
    steps: Annotated[int, Integer(1, 1000)] = 10,
    step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
) -> Tensor:
    r"""w_k (E(x) - E(x'))."""
    k = rng.integers(levels, x.shape[: rng.batch_ndim])
    sigma = sigma_min * (sigma_max / sigma_min) ** (k.to(x.dtype) / (levels - 1))
    y, _, v, alpha = noised(x, rng.normal_like(x), sigma, kernel)
    posterior = tethered(energy, y, rng, sigma=sigma, alpha=alpha)
    epsilon = 1 / (1 / step_size + 1 / v)
    negatives = mala(posterior, x, rng, steps=steps, step_size=epsilon).x
    return (sigma_min / sigma) * (energy(x) - energy(negatives))
