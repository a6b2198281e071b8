"""Denoising score matching at many noise levels, with one energy for all of them."""

from math import log
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Energy, Log, Rng, Sigma, ancestral_from_noise, objective, per_example, score, sum_event


def _gaussian_score(x: Tensor, *, ratio: float, sigma_min: float, sigma_max: float) -> Tensor:
    """The minimiser's score for data from N(0, I), by quadrature over ln σ."""
    sigma_0 = ratio * sigma_min
    u = (torch.arange(64, dtype=x.dtype) + 0.5) / 64
    variance = (sigma_min * (u * log(sigma_max / sigma_min)).exp()).square()
    log_law = -0.5 * x.square().sum(-1, keepdim=True) / (1 + variance) - 0.5 * x.shape[-1] * (1 + variance).log()
    law = log_law.softmax(-1)
    slope = -(law / (1 + variance)).sum(-1, keepdim=True)
    return slope / (sigma_0**2 * law / variance).sum(-1, keepdim=True) * x


def _by_temperature(
    energy: Energy, x_like: Tensor, rng: Rng, *, ratio: float, sigma_min: float, sigma_max: float
) -> Tensor:
    """`ancestral_from_noise` on E at the temperature (σ/σ₀)², which stands for the data under noise σ."""
    sigma_0 = ratio * sigma_min

    def tempered(x: Tensor, sigma: Tensor) -> Tensor:
        return energy(x) * (sigma_0 / sigma).square()

    return ancestral_from_noise(tempered, x_like, rng, sigma_min=sigma_min, sigma_max=sigma_max)


@objective(
    label="MDSM-static",
    family="score matching",
    divergence="smoothed Fisher",
    minimiser="none",
    source="Li et al. 2019, Learning energy-based models in high-dimensional spaces with multi-scale denoising score "
    "matching",
    note="One energy regresses the noise of all levels: its law lies near the data's convolved with N(0, sigma_0²).",
    stationary=_gaussian_score,
    sampler=_by_temperature,
)
def multiscale_denoising_score_matching_static(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    ratio: Annotated[float, Log(0.1, 100.0)] = 2.0,
    sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 0.5,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 1.0,
) -> Tensor:
    r"""½‖(σ₀²/σ) s(x̃) + z‖², x̃ = x + σz, z ~ N(0, I), ln σ ~ U(ln σ_min, ln σ_max).

    The energy is not told σ and always scales its answer by the same σ₀². With p_σ = p * N(0, σ²I) the minimiser has
    the score s = Σ_σ p_σ ∇log p_σ / Σ_σ (σ₀/σ)² p_σ: that of p_σ₀ where the levels agree, flatter far from the
    data, which gives it slopes where single-level denoising has none. With σ_min = σ_0 = σ_max it is single-level.

    In many dimensions the distance from the data tells the level, so that s ≈ (σ/σ₀)² ∇log p_σ there, and E at the
    temperature (σ/σ₀)² is sampled from the largest level to the smallest. The paper has pixels in [0, 1], σ₀ = .1 and
    σ from .05 to 1.2 on photographs, from .1 to 3 on clothes, and 2,700 steps of Langevin's at falling temperature.

    Args:
        x: data (*batch, *event).
        ratio: σ₀ / σ_min, where σ₀ is the level that the answer is scaled for.
        sigma_min: the smallest noise level; given in units of local_scale.
        sigma_max: the largest noise level, in units of x.

    Returns:
        The loss of each example, (*batch,), without unit.
    """
    sigma_0 = ratio * sigma_min
    u = rng.uniform(x.shape[: rng.batch_ndim], x.dtype)
    sigma = per_example(sigma_min * (u * log(sigma_max / sigma_min)).exp(), x)
    z = rng.normal_like(x)
    s = score(energy, x + sigma * z, create_graph=True)
    return 0.5 * sum_event((sigma_0**2 / sigma * s + z).square(), rng)
