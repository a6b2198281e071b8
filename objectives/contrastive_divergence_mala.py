"""Contrastive divergence from the data, with Metropolis-adjusted chains."""

from typing import Annotated

from torch import Tensor

from bench.api import Energy, Integer, Rng, StepSize, mala, objective


@objective(
    label="CD-{steps}-MALA",
    family="contrastive divergence",
    divergence="metropolis contrastive",
    bias={"steps": -1},
    source="Hinton 2002, Training products of experts; chains of Roberts & Tweedie 1996",
    note="Chains keep exp(-E) exactly, so the data's law is a fixed point at every step size.",
)
def contrastive_divergence_mala(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    steps: Annotated[int, Integer(1, 200)] = 10,
    step_size: Annotated[float, StepSize(1e-3, 10.0, checked=False)] = 0.5,
) -> Tensor:
    r"""E(x) - E(x⁻), with x⁻ = sg(`steps` Metropolis-adjusted Langevin transitions on exp(-E), started at the data x).

    Every transition leaves q invariant, so at q = p data and negatives have one law and the expected gradient is zero
    at any ε and any number of steps; a large ε costs acceptance, not truth, and is therefore not refused.

    Args:
        x: data (*batch, *event).
        steps: transitions k of "CD-k".
        step_size: ε of the proposal x + (ε/2) s(x) + √ε z; given in units of local_scale².

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    negatives = mala(energy, x, rng, steps=steps, step_size=step_size).x
    return energy(x) - energy(negatives)
