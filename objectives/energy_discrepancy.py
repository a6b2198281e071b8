"""Energy discrepancy: diffusion contrastive divergence by importance sampling."""

from math import inf, log
from typing import Annotated

import torch
from torch import Tensor

from bench.api import Energy, Integer, Linear, Rng, Sigma, objective


@objective(
    label="ED",
    family="diffusion contrastive divergence",
    divergence="diffusion contrastive",
    bias={"samples": -1},
    source="Schröder et al. 2023, Energy discrepancies: a score-independent loss for energy-based models",
    note="The importance-sampling estimator of diffusion contrastive divergence with a variance-exploding kernel.",
    proof={"sigma": 0.4},
)
def energy_discrepancy(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    samples: Annotated[int, Integer(1, 256)] = 16,
    sigma: Annotated[float, Sigma(1e-3, 100.0)] = 3.0,
    w: Annotated[float, Linear(0.0, 4.0)] = 1.0,
) -> Tensor:
    r"""log(w + Σⱼ exp(E(x) - E(xⱼ))), xⱼ = y + σξⱼ, y = x + σε; ε, ξ₁, ..., ξ_M ~ N(0, I), one centre y for all j.

    As M grows, less log M, it tends to the energy form E(x) - U(y), U(y) = -log E_ξ exp(-E(y + σξ)), of
    KL(p‖q) - KL(p_σ‖q_σ): the member of the diffusion contrastive divergences that weighs draws of the kernel
    instead of running chains. Given y, data and negatives are M + 1 exchangeable candidates, so with w = 1 the loss
    is the cross-entropy of telling which of them is the data: stationary at q = p for every M. No other w has that
    (w = 0 is a log-mean-exp biased at finite M). With M = 1 and w = 1 it is half of conditional noise contrastive
    estimation with noise of standard deviation √2 σ.

    Args:
        x: data (*batch, *event).
        samples: M, the negatives of each example.
        sigma: standard deviation σ of the kernel, given in units of local_scale; small: score matching, large:
            maximum likelihood.
        w: weight of the data among the candidates.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    batch = rng.batch_ndim - 1
    y = x + sigma * rng.normal_like(x)
    centres = y.repeat_interleave(samples, batch)
    negatives = energy(centres + sigma * rng.normal_like(centres)).unflatten(-1, (-1, samples))
    data = energy(x).unsqueeze(-1)
    log_w = torch.full_like(data, log(w) if w > 0 else -inf)
    return torch.cat([log_w, data - negatives], -1).logsumexp(-1)
