"""Dual score matching with a noise level of its own for each coordinate."""

from math import log
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Energy, Linear, Log, Rng, Sigma, ancestral_from_noise, objective, sum_event


@objective(
    label="AnisoDualSM",
    family="score matching",
    divergence="dual Fisher",
    energy="noise",
    levels="axes",
    minimiser="smoothed",
    source="Zilberstein et al. 2026, Learning normalized energy models for linear inverse problems, arXiv 2605.15487",
    note="Covariances are diagonal, an axis a level; those of its source are boxes and spectra of images. "
    "Evaluated at sigma_min on all axes.",
    sampler=ancestral_from_noise,
)
def anisotropic_dual_score_matching(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 0.5,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 5.0,
    time_weight: Annotated[float, Linear(0.0, 100.0)] = 0.25,
    shared: Annotated[float, Linear(0.0, 1.0)] = 0.5,
) -> Tensor:
    r"""(1/2d) ‖Σ^½∇E(x̃, Σ) - z‖² + (2λ/d²) ‖diag[Σ^½ ∂E/∂Σ Σ^½ - ½(I - zzᵀ)]‖², x̃ = x + Σ^½z, z ~ N(0, I).

    Σ = diag(σ₁², …, σ_d²), ln σᵢ ~ U(ln σ_min, ln σ_max), one for all i in a share `shared` of the examples. For
    E(·, Σ) = -log(p * N(0, Σ)) both are regressions with that minimiser: Σ^½∇E = E[z|x̃] (Tweedie), and since
    Σᵢᵢ ∂/∂Σᵢᵢ = ½σᵢ ∂/∂σᵢ, σᵢ ∂E/∂σᵢ = E[1 - zᵢ²|x̃]. λ = 1/4 weights both as the source does; on one axis the loss
    is that of dual_score_matching.

    Args:
        energy: noise-conditional, energy(x, sigma) with sigma shaped as x.
        x: data (*batch, *event).
        sigma_min: the smallest noise level; given in units of local_scale.
        sigma_max: the largest, in units of x.
        time_weight: λ.
        shared: how many examples have one level on all axes, as the evaluated energy has.

    Returns:
        The loss of each example, (*batch,), without unit.
    """
    batch = x.shape[: rng.batch_ndim]
    u = rng.uniform(x.shape, x.dtype).flatten(rng.batch_ndim)
    one = (rng.uniform(batch, x.dtype) < shared).unsqueeze(-1)
    u = torch.where(one, u[..., :1], u).reshape(x.shape)
    sigma = (sigma_min * (u * log(sigma_max / sigma_min)).exp()).requires_grad_()
    z = rng.normal_like(x)
    noised = (x + sigma.detach() * z).requires_grad_()
    # an energy that ignores σ has the derivative 0 there
    in_space, in_sigma = torch.autograd.grad(
        energy(noised, sigma).sum(), (noised, sigma), create_graph=True, materialize_grads=True
    )
    dim = u.flatten(rng.batch_ndim).shape[-1]
    space = sum_event((sigma.detach() * in_space - z).square(), rng) / dim
    levels = sum_event((sigma.detach() * in_sigma - (1 - z.square())).square(), rng) / dim**2
    return 0.5 * (space + time_weight * levels)
