"""A fully connected energy on fixed sines and cosines of its input, which can hold narrow structure in the plane."""

from __future__ import annotations

import math
from typing import Annotated

from torch import Tensor

from bench.api import Conditional, DenseEnergy, Features, FourierFeatures, Integer, Linear, Log, Rng, network


@network(axes=True)
class FourierMlp(DenseEnergy):
    r"""E(x) = (κ/2) ‖u‖² + G(φ(u)), φ(u) = [u, sin uW, cos uW], u = (x - μ) / σ_d, W ~ N(0, s²) fixed; G as in `mlp`.

    A plain network of this size fits narrow structure slowly, low frequencies first; fixed random features put the high
    ones into its first layer (Rahimi & Recht 2007; Tancik et al. 2020, Fourier features let networks learn high
    frequency functions). κ keeps exp(-E) integrable, and its mass where data are. Conditional: the energy of `mlp`,
    with G of φ(u) for u = (x - μ) / √v. W is drawn for each seed from the stream of the initial weights; μ and σ_d,
    one deviation for all axes, are those of the training data.

    Args:
        event_shape: the shape of one example.
        rng: the stream of the initial weights.
        conditional: whether the energy takes a noise level σ, or "axes" for one a coordinate.
        width: units in a hidden layer.
        depth: hidden layers.
        features: columns of W.
        frequency: s, in radians per standard deviation of the data.
        confinement: κ of a static energy.
    """

    waves: Tensor

    def __init__(
        self,
        event_shape: tuple[int, ...],
        rng: Rng,
        conditional: Conditional = False,
        *,
        width: Annotated[int, Integer(1, 4096)] = 64,
        depth: Annotated[int, Integer(1, 16)] = 2,
        features: Annotated[int, Integer(1, 4096)] = 32,
        frequency: Annotated[float, Log(1e-2, 100.0)] = 1.5,
        confinement: Annotated[float, Linear(0.0, 100.0)] = 1.0,
    ) -> None:
        dim = math.prod(event_shape)
        super().__init__(
            event_shape,
            rng,
            conditional,
            width=width,
            depth=depth,
            confinement=confinement,
            inputs=dim + 2 * features,
            standardised=True,
        )
        # drawn last, so that the weights are those of the same trunk without it
        self.register_buffer("waves", frequency * rng.normal((*rng.batch_shape(dim), features)))

    def features(self, u: Tensor) -> Features:
        """φ at u, (*batch, d) -> (*batch, d + 2 · features), and its derivatives."""
        return FourierFeatures(u, self.waves)
