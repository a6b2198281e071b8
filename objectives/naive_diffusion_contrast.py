"""The control of the diffusion family: the noised point itself as the negative sample."""

from typing import Annotated

from torch import Tensor

from bench.api import Choice, Energy, Log, Rng, noised, objective


@objective(
    family="diffusion contrastive divergence",
    source="a mistake, shown on purpose",
    minimiser="none",
    control=True,
)
def naive_diffusion_contrast(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Log(1e-2, 10.0)] = 0.1,
    kernel: Annotated[str, Choice("ve", "vp")] = "ve",
) -> Tensor:
    r"""E(x) - E(y), y = αx + σε."""
    return energy(x) - energy(noised(x, rng.normal_like(x), sigma, kernel).y)
