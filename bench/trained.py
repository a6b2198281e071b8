"""A trained energy as evaluation sees it: values on a grid are kept, and the noise levels it knows can be asked for."""

from __future__ import annotations

import math

from torch import Tensor

from bench.calculus import Energy
from bench.quadrature import Frozen


class Trained(Frozen):
    """E(x) of a network that will not change any more: (*batch, *event) -> (*batch,).

    A noise-conditional network is called at the smallest level that it was trained for.

    Args:
        network: energy(x), or energy(x, sigma) where it is conditional.
        levels: the smallest and the largest σ, in units of x, at which exp(-E) stands for the data's law convolved with
            N(0, σ²I): equal for a static energy that smooths the data, None for one that does not.
        conditional: whether the network is told σ.

    Attributes:
        denoised: what it made of noisy images, "method_level" -> (n, C, H, W), or why it made nothing; kept so that
            two metrics of one image pay for it once.
    """

    def __init__(
        self, network: Energy, *, levels: tuple[float, float] | None = None, conditional: bool = False
    ) -> None:
        self.network, self.levels, self.conditional = network, levels, conditional
        self.denoised: dict[str, Tensor | str] = {}
        super().__init__(network if not conditional or levels is None else self._conditioned(levels[0]))

    def at(self, sigma: float) -> Energy | None:
        """The energy of the data's law convolved with N(0, σ²I), or None if the model has no such level."""
        if self.levels is None or not self._covers(sigma):
            return None
        return self._conditioned(sigma) if self.conditional else self.network

    def _covers(self, sigma: float) -> bool:
        assert self.levels is not None
        low, high = self.levels
        return low <= sigma <= high or math.isclose(sigma, low, rel_tol=1e-3) or math.isclose(sigma, high, rel_tol=1e-3)

    def _conditioned(self, sigma: float) -> Energy:
        def energy(x: Tensor) -> Tensor:
            return self.network(x, x.new_full(x.shape[:1], sigma))

        return energy
