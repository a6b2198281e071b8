"""Noise-contrastive estimation against the data's own noised copies."""

from typing import Annotated

from torch import Tensor
from torch.nn.functional import softplus

from bench.api import Energy, Integer, Rng, Sigma, objective


@objective(
    label="CNCE",
    family="noise contrastive estimation",
    divergence="conditional noise contrastive",
    source="Ceylan & Gutmann 2018, Conditional noise-contrastive estimation of unnormalised models",
    note="Needs neither log Z nor a noise law that resembles the data.",
    proof={"sigma": 0.4},
)
def conditional_noise_contrastive_estimation(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    samples: Annotated[int, Integer(1, 256)] = 4,
    sigma: Annotated[float, Sigma(0.1, 100.0)] = 10.0,
) -> Tensor:
    r"""(2/κ) Σⱼ sp(E(x) - E(yⱼ)), yⱼ = x + σzⱼ, zⱼ ~ N(0, I), j = 1..κ, sp = softplus.

    Logistic regression of which of two points is the datum and which its noised copy; as the noise is symmetric its
    density cancels, and so does log Z. Stationary at q = p. As σ -> 0 it is 2 log 2 + (σ²/2)·(implicit score matching).

    Args:
        x: data (*batch, *event).
        samples: κ, the noised copies of each example.
        sigma: standard deviation σ of the noise; given in units of local_scale.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    data = x.repeat_interleave(samples, rng.batch_ndim - 1)
    noised = energy(data + sigma * rng.normal_like(data)).unflatten(-1, (-1, samples))
    return 2 * softplus(energy(x).unsqueeze(-1) - noised).mean(-1)
