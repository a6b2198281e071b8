"""Contrastive divergence from the data, with unadjusted chains."""

from typing import Annotated

from torch import Tensor

from bench.api import Energy, Integer, Rng, StepSize, langevin, objective


@objective(
    label="CD-{steps}",
    family="contrastive divergence",
    divergence="contrastive",
    bias={"steps": -1},
    source="Hinton 2002, Training products of experts by minimizing contrastive divergence",
    note="Truncated gradient of unadjusted chains: the fixed point is off by O(step_size) in variance.",
    proof={"step_size": 0.02},
)
def contrastive_divergence(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    steps: Annotated[int, Integer(1, 200)] = 10,
    step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
) -> Tensor:
    r"""E(x) - E(x⁻), with x⁻ = sg(`steps` unadjusted Langevin transitions on exp(-E), started at the data x).

    The dependence of x⁻ on the parameters (the third term of the gradient of KL(p‖q) - KL(Πᵏp‖q)) is dropped, as
    Hinton does. Stationary at q = p as ε -> 0: data are then already samples of q. At ε > 0 the chain leaves q for
    its own stationary law; on N(0, 1) with steps = 1 the variance found is (1 + √(1 - ε)) / 2.

    Args:
        x: data (*batch, *event).
        steps: transitions k of "CD-k".
        step_size: ε of x <- x + (ε/2) s(x) + √ε z; given in units of local_scale².

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    negatives = langevin(energy, x, rng, steps=steps, step_size=step_size)
    return energy(x) - energy(negatives)
