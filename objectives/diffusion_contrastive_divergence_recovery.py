"""Diffusion contrastive divergence, posterior chains started at the noised point (recovery likelihood)."""

from typing import Annotated

from torch import Tensor

from bench.api import (
    Choice,
    Energy,
    Integer,
    Log,
    Rng,
    StepSize,
    langevin,
    mala,
    noised,
    objective,
    posterior_steps,
    tethered,
)


@objective(
    family="diffusion contrastive divergence",
    source="Luo et al. 2023, arXiv 2307.01668; Gao et al. 2021, arXiv 2012.08125 (as recovery likelihood)",
    note="Negatives that have not left the noised point yet make the energy too flat.",
)
def diffusion_contrastive_divergence_recovery(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Log(1e-2, 10.0)] = 0.3,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
    steps: Annotated[int, Integer(1, 1000)] = 10,
    step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
    sampler: Annotated[str, Choice("mala", "langevin")] = "mala",
) -> Tensor:
    r"""E(x) - E(x'), x' = sg(K transitions on q(·|y) ∝ exp(-E(·) - ‖y - α·‖²/2σ²), started at z = y/α), y = αx + σε.
    """
    y, z, v, alpha = noised(x, rng.normal_like(x), sigma, kernel)
    posterior = tethered(energy, y, rng, sigma=sigma, alpha=alpha)
    schedule = posterior_steps(v, step_size, steps)
    if sampler == "mala":
        negatives = mala(posterior, z, rng, steps=steps, step_size=schedule).x
    else:
        negatives = langevin(posterior, z, rng, steps=steps, step_size=schedule)
    return energy(x) - energy(negatives)
