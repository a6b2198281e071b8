"""Diffusion contrastive divergence, the energy of the diffused law by one Euler step of the Fokker-Planck equation."""

from typing import Annotated

import torch
from torch import Tensor

from bench.api import Choice, Energy, Integer, Rng, Sigma, hessian_product, noised, objective, sum_event


@objective(
    label="DCD-FP",
    family="diffusion contrastive divergence",
    divergence="diffusion contrastive",
    bias={"sigma": 2},
    source="after Luo et al. 2023, arXiv 2307.01668",
    note="An expansion in small noise: at a sigma near the data's narrowest scale it learns a blurred law.",
    proof={"sigma": 0.05},
)
def diffusion_contrastive_divergence_fokker_planck(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Sigma(1e-2, 2.0)] = 0.5,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
    signs: Annotated[int, Integer(1, 2)] = 2,
) -> Tensor:
    r"""E(x) - U(y), U = E + T[∇·f - f·∇E + ½(ΔE - ‖∇E‖²)], y = αx + σε, ε ~ N(0, I).

    The diffusion dx = f dt + dw carries exp(-E) to exp(-U_T), and U is U_T to first order in T; the divergence
    KL(p‖q) - KL(p_T‖q_T) is E_p[E] - E_{p_T}[U_T] up to a constant. Kernel "ve": f = 0, T = σ². Kernel "vp": f = -x/2,
    T = -2 ln α, α² = 1 - σ²; the constant T∇·f is left out. The Laplacian is vᵀ∇²E v with signs v (Hutchinson 1990),
    and the parameters are reached through all of U. The relative error of the expected gradient is O(T); T -> 0 is
    implicit score matching. Stationary at q = p up to O(T): with "ve" on N(0, s²) at the variance s² + σ².

    Args:
        x: data (*batch, *event).
        sigma: σ, well below the narrowest standard deviation of the data; given in units of local_scale.
        kernel: "ve" or "vp"; the two expand about different paths, so they differ in the error.
        signs: 2 averages the loss over both signs of ε; 1 is noisier, with the same mean.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    noise, direction = rng.normal_like(x), rng.rademacher_like(x)

    def diffused(sign: int) -> Tensor:
        y, _, _, alpha = noised(x, sign * noise, sigma, kernel)
        s, product = hessian_product(energy, y, direction)
        change = sum_event(direction * product - s.square(), rng)
        if kernel == "vp":
            return energy(y) - alpha.log() * (change - sum_event(y * s, rng))
        return energy(y) + 0.5 * sigma**2 * change

    return energy(x) - torch.stack([diffused(sign) for sign in (1, -1)[:signs]]).mean(0)
