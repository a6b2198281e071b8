"""Minimum probability flow to Gaussian neighbours."""

from typing import Annotated

from torch import Tensor

from bench.api import Energy, Integer, Rng, Sigma, objective


@objective(
    label="MPF",
    family="probability flow",
    divergence="probability flow",
    source="Sohl-Dickstein et al. 2011, Minimum probability flow learning",
    note="The exponential of an energy difference has heavy tails: one bad example can dominate a batch.",
    proof={"sigma": 0.2},
)
def minimum_probability_flow(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    neighbours: Annotated[int, Integer(1, 256)] = 4,
    sigma: Annotated[float, Sigma(1e-3, 100.0)] = 3.0,
) -> Tensor:
    r"""(1/κ) Σⱼ exp(½[E(x) - E(yⱼ)]), yⱼ = x + σzⱼ, zⱼ ~ N(0, I), j = 1..κ.

    The rate at which probability leaves the data under the Markov process that jumps from x to y at the rate
    g(y, x) exp(½[E(x) - E(y)]). With g symmetric, here N(y; x, σ²I) in place of the discrete neighbourhood of the
    paper, the process holds q in detailed balance; the loss is ∫∫ p(x) g(x, y) √(q(y)/q(x)), stationary at q = p.
    As σ -> 0 it is 1 + (σ²/4)·(implicit score matching).

    Args:
        x: data (*batch, *event).
        neighbours: κ, the neighbours drawn for each example.
        sigma: standard deviation σ of the jumps; given in units of local_scale.

    Returns:
        The loss of each example, (*batch,), without unit: a rate.
    """
    data = x.repeat_interleave(neighbours, rng.batch_ndim - 1)
    reached = energy(data + sigma * rng.normal_like(data)).unflatten(-1, (-1, neighbours))
    rates: Tensor = (0.5 * (energy(x).unsqueeze(-1) - reached)).exp()
    return rates.mean(-1)
