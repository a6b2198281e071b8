"""What the diffusion contrastive divergences share: the forward kernel, and the steps of chains on its posterior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bench.common.errors import UsageError
from bench.core.derivatives import as_tensor_like, per_example
from bench.core.rng import Rng


class Noised(NamedTuple):
    """A noised point, and what the posterior q(x|y) ∝ exp(-E(x) - ‖x - z‖² / 2v) needs of it.

    Attributes:
        y: αx + σε, (*batch, *event).
        z: y / α, the same point on the scale of the data.
        v: (σ/α)², the variance of z given x, shaped as sigma.
        alpha: α, shaped as sigma.
    """

    y: Tensor
    z: Tensor
    v: Tensor
    alpha: Tensor


def signal_scale(sigma: Tensor, kernel: str, largest: float | Tensor) -> Tensor:
    """α of y = αx + σε: 1 under the kernel "ve", √(1 - σ²) under "vp"; shaped as sigma.

    Args:
        largest: the largest sigma, or the tensor of which it is; to look into a tensor makes a GPU wait.

    Raises:
        UsageError: if the kernel is "vp" and the largest sigma is not below 1.
    """
    if kernel != "vp":
        return torch.ones_like(sigma)
    top = float(largest.max()) if isinstance(largest, Tensor) else largest
    if not top < 1:
        raise UsageError(
            f"kernel vp has α² = 1 - sigma², so sigma must lie below 1; got {top:g}; use a smaller sigma or kernel=ve"
        )
    return (1 - sigma.square()).sqrt()


def noised(x: Tensor, noise: Tensor, sigma: float | Tensor, kernel: str, *, largest: float | None = None) -> Noised:
    """y = αx + σε with α = 1 under the kernel "ve", α² = 1 - σ² under "vp".

    The posterior sees only z and v, so "vp" at σ is the same divergence as "ve" at σ/α.

    Args:
        x: data (*batch, *event); not changed.
        noise: ε, shaped as x.
        sigma: σ in units of x, one number or one an example (*batch,).
        kernel: "ve" (variance exploding) or "vp" (variance preserving, for data of about unit variance).
        largest: the largest of sigmas (*batch,), as a number; else they are looked into.

    Raises:
        UsageError: if the kernel is "vp" and a sigma is not below 1.
    """
    scale = as_tensor_like(sigma, x)
    alpha = signal_scale(scale, kernel, sigma if largest is None else largest)
    y = per_example(alpha, x) * x.detach() + per_example(scale, x) * noise
    return Noised(y, y / per_example(alpha, x), (scale / alpha).square(), alpha)


def posterior_steps(v: Tensor, step_size: float | Tensor, *, steps: int, dim: int) -> list[Tensor]:
    """εₖ = d^{-1/3} v^{1 - k/K} ε^{k/K} for k = 1, ..., K, 1/ε = 1/`step_size` + 1/v: the steps of a posterior chain.

    A posterior is as wide as v where the energy is flat, as at the start of training, and as narrow as the harmonic
    combination of v and the data's own scale where the energy has become sharp: no one step suits both. The factor
    keeps MALA's acceptance from falling with the dimension d (Roberts & Rosenthal 1998). Its price is that a chain
    needs of the order of d^(1/3) more transitions to forget y: in the plane ten are many, in a thousand dimensions they
    are few, and the fixed point of whoever trains with them is far from the law that long chains would lead to.

    Args:
        v: variance of the noised point z given x, in squared units of x: one number () or one an example (*batch,).
        step_size: the step that suits exp(-E) itself, in squared units of x; a number or shaped as v.
        steps: K.
        dim: d, the size of an event.
    """
    last = 1 / (1 / step_size + 1 / v)
    return [dim ** (-1 / 3) * v * (last / v) ** (k / steps) for k in range(1, steps + 1)]


class NoiseInterval(NamedTuple):
    """A noise level for each example, and the way to the next one: y = a xₖ + √(σₖ₊₁² - a²σₖ²) ε', a = αₖ₊₁ / αₖ.

    Attributes:
        sigma: σₖ of xₖ = αₖx + σₖε, (*batch,).
        gap: √(σₖ₊₁² - a²σₖ²), the standard deviation of the noise that leads from level k to level k + 1, (*batch,).
        alpha: αₖ, (*batch,).
        decay: a, (*batch,).
    """

    sigma: Tensor
    gap: Tensor
    alpha: Tensor
    decay: Tensor


def noise_levels(sigma_min: float, sigma_max: float, count: int, like: Tensor) -> Tensor:
    """`count` geometric levels from sigma_min to sigma_max, (count,), as `like` in type and place.

    Raises:
        UsageError: if sigma_min does not lie below sigma_max.
    """
    if not 0 < sigma_min < sigma_max:
        raise UsageError(
            f"noise levels rise from sigma_min to sigma_max; got {sigma_min:g} and {sigma_max:g}; make sigma_max larger"
        )
    ends = math.log(sigma_min), math.log(sigma_max)
    return torch.linspace(*ends, count, dtype=torch.float64, device=like.device).exp().to(like)


def noise_interval(
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: float,
    sigma_max: float,
    levels: int,
    kernel: str = "ve",
    k: int | None = None,
) -> NoiseInterval:
    """One of `levels` intervals between geometric noise levels for each example of x.

    Args:
        k: which, counted from the smallest noise; None draws one for each example, all equally likely.

    Raises:
        UsageError: if sigma_min does not lie below sigma_max, or sigma_max not below 1 under the kernel "vp".
    """
    sigmas = noise_levels(sigma_min, sigma_max, levels + 1, x)
    alphas = signal_scale(sigmas, kernel, sigma_max)
    batch = x.shape[: rng.batch_ndim]
    index = rng.integers(levels, batch).to(x.device) if k is None else torch.full(batch, k, device=x.device)
    decay = alphas[index + 1] / alphas[index]
    gap = (sigmas[index + 1].square() - (decay * sigmas[index]).square()).sqrt()
    return NoiseInterval(sigmas[index], gap, alphas[index], decay)


def noised_twice(x: Tensor, here: NoiseInterval, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
    """(xₖ, y, η) of an interval under the kernel "ve": xₖ = x + σε, y = xₖ + sε', η = (sε - σε') / √(σ² + s²).

    η ~ N(0, I) is the innovation of xₖ: independent of x and y, and xₖ = E[xₖ | x, y] + √v η, 1/v = 1/σ² + 1/s².
    """
    sigma, gap = per_example(here.sigma, x), per_example(here.gap, x)
    noise, more = rng.normal_like(x), rng.normal_like(x)
    x_k = x + sigma * noise
    return x_k, x_k + gap * more, (gap * noise - sigma * more) / (sigma.square() + gap.square()).sqrt()


def shared_noise(innovation: Tensor, weights: Sequence[float], rng: Rng) -> list[Tensor]:
    """ξ₁, ..., ξ_K, independent and N(0, I), whose weighted sum Σ wₖξₖ is ‖w‖ · η.

    A linear chain ends at its mean plus Σ wₖξₖ. So two points that are made from one η move together, and each keeps
    its own law: whatever η is, N(0, I) independent of where the chain starts, so are the ξₖ.

    Args:
        innovation: η ~ N(0, I), (*batch, *event).
        weights: w, by which a transition's noise reaches the end of the chain, of any scale; not all 0.
    """
    length = math.hypot(*weights)
    drawn = [rng.normal_like(innovation) for _ in weights]
    missing = innovation - sum(w / length * z for w, z in zip(weights, drawn, strict=True))
    return [z + w / length * missing for w, z in zip(weights, drawn, strict=True)]
