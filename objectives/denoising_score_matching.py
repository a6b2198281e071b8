"""Denoising score matching at one noise level."""

from typing import Annotated

from torch import Tensor

from bench.api import Energy, Rng, Sigma, objective, score, sum_event


@objective(
    label="DSM",
    family="score matching",
    divergence="smoothed Fisher",
    minimiser="smoothed",
    source="Vincent 2011, A connection between score matching and denoising autoencoders",
    note="Learns the data's law convolved with N(0, sigma²), not the data's.",
    proof={"sigma": 0.3},
)
def denoising_score_matching(
    energy: Energy, x: Tensor, rng: Rng, *, sigma: Annotated[float, Sigma(1e-3, 10.0)] = 0.5
) -> Tensor:
    r"""½‖σ s(x̃) + z‖², x̃ = x + σz, z ~ N(0, I).

    Equals ½σ² E‖s - ∇log p_σ‖² up to a constant, with p_σ = p * N(0, σ²I): the minimiser is exp(-E) = p_σ. Like all
    score matching it sees only the slope where data lie, so it cannot weigh modes that are far apart.

    Args:
        x: data (*batch, *event).
        sigma: standard deviation σ of the noise; given in units of local_scale.

    Returns:
        The loss of each example, (*batch,), without unit; σ² times nats per squared unit of x.
    """
    z = rng.normal_like(x)
    s = score(energy, x + sigma * z, create_graph=True)
    return 0.5 * sum_event((sigma * s + z).square(), rng)
