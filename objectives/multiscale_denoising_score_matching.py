"""Denoising score matching at many noise levels, with an energy that is told the level."""

from math import log
from typing import Annotated

from torch import Tensor

from bench.api import (
    Choice,
    Energy,
    Log,
    Rng,
    Sigma,
    ancestral_from_noise,
    conditioned,
    objective,
    per_example,
    score,
    sum_event,
)


@objective(
    label="MDSM",
    family="score matching",
    divergence="smoothed Fisher",
    energy="noise",
    minimiser="smoothed",
    source="Song & Ermon 2019, Generative modeling by estimating gradients of the data distribution",
    note="Learns the data's law convolved with N(0, sigma²) for every sigma; evaluated at sigma_min.",
    sampler=ancestral_from_noise,
)
def multiscale_denoising_score_matching(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 0.5,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 2.0,
    sigma_law: Annotated[str, Choice("log-uniform", "log-normal")] = "log-uniform",
    median: Annotated[float, Log(1e-3, 100.0)] = 0.4,
    spread: Annotated[float, Log(0.1, 10.0)] = 1.3,
) -> Tensor:
    r"""½‖σ s(x̃, σ) + z‖², x̃ = x + σz, z ~ N(0, I), ln σ ~ U(ln σ_min, ln σ_max).

    The weight σ² of the squared score error makes all levels count alike. The minimiser at each level is
    exp(-E(·, σ)) = p * N(0, σ²I), up to a constant that may depend on σ. The law of the levels only says where a
    network spends its capacity: "log-normal" is ln σ ~ N(ln m, w²), clipped to the same range (Karras et al. 2022,
    Elucidating the design space of diffusion-based generative models, with w = 1.2).

    Args:
        energy: noise-conditional, energy(x, sigma) with sigma (*batch,).
        x: data (*batch, *event).
        sigma_min: the smallest noise level; given in units of local_scale.
        sigma_max: the largest noise level, in units of x.
        sigma_law: the law of ln σ.
        median: m of "log-normal", in units of x.
        spread: w of "log-normal", in nats.

    Returns:
        The loss of each example, (*batch,), without unit.
    """
    batch = x.shape[: rng.batch_ndim]
    if sigma_law == "log-normal":
        sigma = (log(median) + spread * rng.normal(batch, x.dtype)).exp().clamp(sigma_min, sigma_max)
    else:
        sigma = sigma_min * (rng.uniform(batch, x.dtype) * log(sigma_max / sigma_min)).exp()
    z = rng.normal_like(x)
    s = score(conditioned(energy, sigma), x + per_example(sigma, x) * z, create_graph=True)
    return 0.5 * sum_event((per_example(sigma, x) * s + z).square(), rng)
