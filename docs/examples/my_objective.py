"""The objective of the tutorial: denoising score matching at one noise level."""

from typing import Annotated

from torch import Tensor

from bench.api import Energy, Log, Rng, objective, score, sum_event


@objective(
    label="mine",
    family="score matching",
    minimiser="smoothed",
    source="Vincent 2011, A connection between score matching and denoising autoencoders",
    proof={"sigma": 0.3},
)
def my_objective(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma: Annotated[float, Log(1e-2, 1.0)] = 0.1,
) -> Tensor:
    r"""½‖σ s(x̃) + z‖², x̃ = x + σz, z ~ N(0, I).

    Args:
        x: data (*batch, *event).
        sigma: standard deviation of the noise, in units of x.

    Returns:
        The loss of each example, (*batch,).
    """
    z = rng.normal_like(x)
    s = score(energy, x + sigma * z, create_graph=True)
    return 0.5 * sum_event((sigma * s + z).square(), rng)
