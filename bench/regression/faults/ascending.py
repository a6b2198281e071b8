"""A mistake for the gate's self-test: the regression target with its sign flipped."""

from typing import Annotated

from torch import Tensor

from bench.api import Energy, Log, Rng, objective, score, sum_event


@objective(
    family="planted mistake",
    minimiser="none",
    control=True,
    source="the denoising loss of Vincent 2011, its target negated: it learns -E, so that data become unlikely",
)
def ascending(energy: Energy, x: Tensor, rng: Rng, *, sigma: Annotated[float, Log(1e-2, 1.0)] = 0.1) -> Tensor:
    r"""½‖σ s(x + σz) - z‖², z ~ N(0, I): wrong on purpose. x (*batch, *event) -> (*batch,)."""
    z = rng.normal_like(x)
    return 0.5 * sum_event((sigma * score(energy, x + sigma * z, create_graph=True) - z).square(), rng)
