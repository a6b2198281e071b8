"""Dual score matching: the gradient of an energy in space and in noise level."""

from math import log
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Energy, Linear, Log, Rng, Sigma, ancestral_from_noise, objective, per_example, sum_event


@objective(
    label="DualSM",
    family="score matching",
    divergence="dual Fisher",
    energy="noise",
    minimiser="smoothed",
    source="Guth et al. 2025, Learning normalized image densities via dual score matching, arXiv 2506.05310",
    note="Its derivative in the noise level ties the levels' constants, so that it sees the weights of far modes. "
    "Evaluated at sigma_min.",
    sampler=ancestral_from_noise,
)
def dual_score_matching(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 0.5,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 5.0,
    time_weight: Annotated[float, Linear(0.0, 100.0)] = 1.0,
) -> Tensor:
    r"""½‖σ∇E(x̃, σ) - z‖² + (λ/2d) [σ ∂E/∂σ - (d - ‖z‖²)]², x̃ = x + σz, z ~ N(0, I), ln σ ~ U(ln σ_min, ln σ_max).

    For E(·, σ) = -log(p * N(0, σ²I)) both are regressions with that minimiser: ∇E = E[z|x̃]/σ (Tweedie), and
    σ ∂E/∂σ = E[d - ‖z‖² | x̃], since ∂/∂ln σ of the Gaussian log density log N(x̃; x, σ²I) is ‖z‖² - d. At a large σ
    the law is one Gaussian without far modes; the second term carries what is known there down to σ_min.

    Args:
        energy: noise-conditional, energy(x, sigma) with sigma (*batch,).
        x: data (*batch, *event).
        sigma_min: the smallest noise level; given in units of local_scale.
        sigma_max: the largest, in units of x.
        time_weight: λ.

    Returns:
        The loss of each example, (*batch,), without unit.
    """
    u = rng.uniform(x.shape[: rng.batch_ndim], x.dtype)
    sigma = (sigma_min * (u * log(sigma_max / sigma_min)).exp()).requires_grad_()
    z = rng.normal_like(x)
    noised = (x + per_example(sigma.detach(), x) * z).requires_grad_()
    # an energy that ignores σ has the derivative 0 there
    in_space, in_sigma = torch.autograd.grad(
        energy(noised, sigma).sum(), (noised, sigma), create_graph=True, materialize_grads=True
    )
    dim = x.flatten(rng.batch_ndim).shape[-1]
    space = sum_event((per_example(sigma.detach(), x) * in_space - z).square(), rng)
    level = (sigma.detach() * in_sigma - (dim - sum_event(z.square(), rng))).square() / dim
    return 0.5 * (space + time_weight * level)
