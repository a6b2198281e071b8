"""Diffusion contrastive divergence, one step with curvature: a Laplace approximation of the posterior."""

from typing import Annotated

import torch
from torch import Tensor

from bench.api import Choice, Energy, Integer, Rng, Sigma, noised, objective


@objective(
    label="DCD-Laplace",
    family="diffusion contrastive divergence",
    divergence="diffusion contrastive",
    bias={"sigma": 4},
    source="after Luo et al. 2023, arXiv 2307.01668; mean as in Tierney & Kadane 1986",
    note="Diverges, by a NaN, where the energy is more concave than the noise is narrow.",
    max_dim=16,
)
def diffusion_contrastive_divergence_laplace(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Sigma(1e-2, 10.0)] = 0.3,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
    signs: Annotated[int, Integer(1, 2)] = 2,
) -> Tensor:
    r"""E(x) - E(x'), x' ~ sg N(z - Σ(∇E + ½∇tr(Σ∇²E)), Σ), Σ⁻¹ = I/v + ∇²E, all at z = y/α, y = αx + σε, v = (σ/α)².

    The posterior q(x'|y) ∝ exp(-E(x') - ‖x' - z‖²/2v) with E expanded to second order at z, and its mean to third
    (the gradient of the trace holds Σ fixed). The relative error of the expected gradient is O(v²), where the
    one-step draw's is O(v). The Hessian is exact: one backward pass a dimension, and one more for the trace.

    Σ exists while I/v + ∇²E is positive. Where it is not, the expansion is no law and there is nothing to draw: the
    negative is the root of a negative variance, NaN, the loss is NaN and the run is said to have diverged. A smaller
    σ is the way out.

    Args:
        x: data (*batch, *event) of at most 16 dimensions.
        sigma: σ; given in units of local_scale.
        kernel: "ve", α = 1, or "vp", α² = 1 - σ²; the latter is the former at σ/α.
        signs: 2 averages the loss over both signs of the noise; 1 is noisier, with the same mean.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    noise, spread = rng.normal_like(x), rng.normal_like(x)

    def negative(sign: int) -> Tensor:
        _, z, v, _ = noised(x, sign * noise, sigma, kernel)
        z.requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(energy(z).sum(), z, create_graph=True)
            slopes = gradient.flatten(rng.batch_ndim).unbind(-1)
            rows = [torch.autograd.grad(slope.sum(), z, create_graph=True)[0] for slope in slopes]
            hessian = torch.stack([row.flatten(rng.batch_ndim) for row in rows], -1)
            precision = torch.eye(len(rows), dtype=x.dtype, device=x.device) / v + hessian.detach()
            eigenvalues, axes = torch.linalg.eigh(precision)
            covariance = axes / eigenvalues.unsqueeze(-2) @ axes.mT
            (bend,) = torch.autograd.grad((covariance * hessian).sum(), z, materialize_grads=True)
        pull = (gradient.detach() + 0.5 * bend).flatten(rng.batch_ndim).unsqueeze(-1)
        normal = sign * spread.flatten(rng.batch_ndim).unsqueeze(-1)
        # √Σ is the symmetric root: the choice of the eigenvectors' signs leaves no trace in the draw
        move = axes @ (axes.mT @ normal / eigenvalues.sqrt().unsqueeze(-1)) - covariance @ pull
        negatives: Tensor = z.detach() + move.squeeze(-1).reshape(x.shape)
        return negatives

    return energy(x) - torch.stack([energy(negative(sign)) for sign in (1, -1)[:signs]]).mean(0)
