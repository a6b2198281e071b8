"""Diffusion contrastive divergence, one draw from the posterior of the energy expanded to second order."""

from typing import Annotated

import torch
from torch import Tensor

from bench.api import Choice, Energy, Log, Rng, noised, objective


@objective(
    family="diffusion contrastive divergence",
    source="Luo et al. 2023, arXiv 2307.01668",
    max_dim=16,
)
def diffusion_contrastive_divergence_laplace(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Log(1e-2, 10.0)] = 0.03,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
) -> Tensor:
    r"""E(x) - E(x'), x' ~ N(z - Σ(g + ½ ∇tr ΣH), Σ), Σ⁻¹ = I/v + H."""
    _, z, v, _ = noised(x, rng.normal_like(x), sigma, kernel)
    z.requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(energy(z).sum(), z, create_graph=True)
        entries = gradient.flatten(rng.batch_ndim).unbind(-1)
        columns = [torch.autograd.grad(g.sum(), z, create_graph=True)[0].flatten(rng.batch_ndim) for g in entries]
        hessian = torch.stack(columns, -1)
        precision = hessian.detach() + torch.eye(len(columns), dtype=x.dtype, device=x.device) / v
        eigenvalues, axes = torch.linalg.eigh(precision)
        covariance = axes / eigenvalues.unsqueeze(-2) @ axes.mT
        (skew,) = torch.autograd.grad((covariance * hessian).sum(), z)
    drift = (gradient.detach() + 0.5 * skew).flatten(rng.batch_ndim).unsqueeze(-1)
    noise = rng.normal_like(x).flatten(rng.batch_ndim).unsqueeze(-1)
    move = axes @ (noise / eigenvalues.sqrt().unsqueeze(-1)) - covariance @ drift
    negatives = z.detach() + move.squeeze(-1).reshape(x.shape)
    return energy(x) - energy(negatives)
