"""A trained energy as evaluation sees it: values on a grid are kept, and the noise levels it knows can be asked for."""

from __future__ import annotations

import math
from typing import Any

from bench.core.derivatives import Energy, conditioned, rescaled
from bench.core.quadrature import CachedFunction


class TrainedEnergy(CachedFunction):
    """E(x) of a network that will not change any more: (*batch, *event) -> (*batch,).

    A noise-conditional network is called at the smallest level that it was trained for.

    Args:
        network: energy(x), or energy(x, sigma) where it is conditional.
        levels: the smallest and the largest σ, in units of x, at which exp(-E) stands for the data's law convolved with
            N(0, σ²I): equal for a static energy that smooths the data, None for one that does not.
        conditional: whether the network is told σ.
        shrinks: whether it was trained on αx + σε, α² = 1 - σ² (the kernel "vp"): E(αx, σ) is then the energy of the
            data's law convolved with N(0, (σ/α)²I), and `levels` are these σ/α.
        noise: the standard deviation of Gaussian noise in the data themselves: at level σ the energy is that of the
            clean law under √(σ² + noise²).
        log_z_estimate: what the objective itself takes log Z to be, in nats; None if it says nothing.

    Attributes:
        denoised: what `denoising.denoised` made of noisy images, by its `steps`, the seed and a digest of the clean
            images; kept so that two metrics of one image pay for it once.
    """

    def __init__(
        self,
        network: Energy,
        *,
        levels: tuple[float, float] | None = None,
        conditional: bool = False,
        noise: float = 0.0,
        shrinks: bool = False,
        log_z_estimate: float | None = None,
    ) -> None:
        self.shrinks, self.log_z_estimate = shrinks, log_z_estimate
        self.network, self.levels, self.conditional, self.noise = network, levels, conditional, noise
        self.denoised: dict[tuple[int, int, str], dict[str, Any]] = {}
        super().__init__(network if not conditional or levels is None else self._conditioned(levels[0]))

    @property
    def smoothing(self) -> float:
        """δ, where exp(-E) stands for the clean law convolved with N(0, δ²I): noise of the data, and its own level."""
        return math.hypot(self.noise, self.levels[0] if self.levels else 0.0)

    @property
    def has_range(self) -> bool:
        """Whether it is told a noise level, of a range of them."""
        return self.conditional and self.levels is not None and self.levels[0] < self.levels[1]

    def at(self, sigma: float) -> Energy | None:
        """The energy of the clean law convolved with N(0, σ²I), or None if the model has no such level."""
        level = math.sqrt(max(sigma**2 - self.noise**2, 0.0))
        if self.levels is None or level == 0:
            return None
        low, high = self.levels
        if not (low <= level <= high or any(math.isclose(level, end, rel_tol=0.01) for end in self.levels)):
            return None
        return self._conditioned(level) if self.conditional else self.network

    def _conditioned(self, sigma: float) -> Energy:
        alpha = 1 / math.sqrt(1 + sigma**2) if self.shrinks else 1.0
        level = conditioned(self.network, lambda x: x.new_full(x.shape[:1], alpha * sigma))
        return level if alpha == 1.0 else rescaled(level, argument=alpha)
