"""A control: contrasting the data with their noised selves, as if the posterior were not needed."""

from typing import Annotated

from torch import Tensor

from bench.api import Choice, Energy, Rng, Sigma, noised, objective


@objective(
    label="naive-DC",
    family="diffusion contrastive divergence",
    divergence="diffusion contrastive",
    bias=None,
    source="no paper: the mistake that leaves the posterior out",
    minimiser="none",
    control=True,
    note="Wrong at every sigma: linear in the energy, so unbounded below.",
)
def naive_diffusion_contrast(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Sigma(1e-3, 100.0)] = 1.0,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
) -> Tensor:
    r"""E(x) - E(y), y = αx + σε, ε ~ N(0, I).

    The negative is the noised point itself instead of a draw from the posterior of x given it. The mean loss is
    linear in E, hence unbounded below: twice a useful energy is twice as good, and no law is stationary. To leading
    order its gradient lacks the squared score of score matching, so its relative error does not shrink with σ.

    Args:
        x: data (*batch, *event).
        sigma: σ; given in units of local_scale.
        kernel: "ve", α = 1, or "vp", α² = 1 - σ².

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    return energy(x) - energy(noised(x, rng.normal_like(x), sigma, kernel).y)
