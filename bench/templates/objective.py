"""An objective: what is minimised to train an energy E, whose density is q(x) ∝ exp(-E(x))."""

from typing import Annotated

from torch import Tensor

from bench.api import Energy, Log, Rng, objective, score, sum_event


# `label` is its short name in tables, at most 16 characters. `minimiser` says which law's energy the loss is stationary
# at: "data", "smoothed" (the data's law convolved with the noise) or "none"; `check` holds the loss to it. `source` is
# the paper. `proof` gives hyper-parameters at which `check` can tell right from wrong with few draws.
@objective(
    label="my_label",
    family="score matching",
    minimiser="smoothed",
    source="Vincent 2011, A connection between score matching and denoising autoencoders",
    proof={"sigma": 0.3},
)
# Keyword-only parameters are the hyper-parameters. The annotation is the search space: Log, Linear, Integer, Choice.
def my_objective(energy: Energy, x: Tensor, rng: Rng, *, sigma: Annotated[float, Log(1e-2, 1.0)] = 0.1) -> Tensor:
    r"""½‖σ s(x̃) + z‖², s = -∇E, x̃ = x + σz, z ~ N(0, I).

    Args:
        energy: E, (*batch, *event) -> (*batch,); low is likely.
        x: data (*batch, *event), a batch (B, *event), or (S, B, *event) for a stack of S seeds.
        rng: the only source of randomness; `sum_event` asks it which axes are the event's.
        sigma: standard deviation of the noise, in units of x.

    Returns:
        The loss of each example, (*batch,). The trainer takes the mean.
    """
    z = rng.normal_like(x)
    s = score(energy, x + sigma * z, create_graph=True)  # with its graph: the loss is differentiated by the weights
    return 0.5 * sum_event((sigma * s + z).square(), rng)
