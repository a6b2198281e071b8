"""A fully connected energy for vectors."""

from __future__ import annotations

import math
from typing import Annotated

from bench.api import Conditional, DenseEnergy, Integer, Linear, Rng, network


@network(axes=True)
class Mlp(DenseEnergy):
    r"""E(x) = (κ/2) ‖x‖² + G(x), G(h_0) = w · h_L + b with h_{l+1} = SiLU(h_l W_l + b_l).

    Conditional: E(x, σ) = ‖x - μ‖² / 2v + (d/2) ln 2πv - (σ_d/σ) G((x - μ) / √v, σ), v = σ² + σ_d², with μ and σ_d of
    the training data. Initial weights and conditioning are those of `DenseEnergy`.

    Args:
        event_shape: the shape of one example.
        rng: the stream of the initial weights.
        conditional: whether the energy takes a noise level σ, or "axes" for one a coordinate.
        width: units in a hidden layer.
        depth: hidden layers.
        confinement: κ of a static energy, in inverse squared units of x; above 0 it keeps exp(-E) integrable, and
            chains from leaving for where there are no data.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        rng: Rng,
        conditional: Conditional = False,
        *,
        width: Annotated[int, Integer(1, 4096)] = 64,
        depth: Annotated[int, Integer(1, 16)] = 2,
        confinement: Annotated[float, Linear(0.0, 100.0)] = 0.0,
    ) -> None:
        super().__init__(
            event_shape,
            rng,
            conditional,
            inputs=math.prod(event_shape),
            width=width,
            depth=depth,
            confinement=confinement,
            standardised=False,
        )
