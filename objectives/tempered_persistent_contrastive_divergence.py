"""Persistent contrastive divergence with cold chains, as large image models are trained."""

from typing import Annotated

from torch import Tensor

from bench.api import ChainBuffer, Energy, Integer, Linear, Log, Rng, StepSize, langevin, objective


@objective(
    label="tempered-PCD",
    family="contrastive divergence",
    minimiser="none",
    source="Grathwohl et al. 2020, Your classifier is secretly an energy based model; Du & Mordatch 2019, Implicit "
    "generation and modeling with energy-based models",
    note="Chains run at temperature 5e-5: almost gradient descent, no samples of exp(-E); the step is not checked.",
    stationary="temperature",
    # at this temperature a step of 1000 moves a chain as one of .05 does at temperature 1
    proof={"chains": 128, "restart": 0.0, "step_size": 1000.0, "data_noise": 0.0, "decay": 0.0},
)
class TemperedPersistentContrastiveDivergence(ChainBuffer):
    r"""E(x̃) - E(x⁻) + λ[E(x̃)² + E(x⁻)²], x̃ = x + cε, x⁻ = sg(`steps` cold transitions, from a buffer).

    A step of a∇E with noise of standard deviation b samples exp(-E/τ), τ = b²/2a. The released JEM takes 20 steps of
    a = 1, b = .01, which is ε = 2 and τ = 5e-5; the released IGEBM 60 steps of a = 10, b = .005, that is ε = 20 and
    τ = 1.25e-6, with gradients clipped at ±.01 (not done here) and λ = 1. So cold, chains gather at the nearest
    minimum, and the energy learns where minima are but not how wide or how heavy they are: exp(-E) is no estimate of
    the data's law. λ ties the level and the range of E, to which the contrast is blind. With λ = c = 0 and chains that
    have converged, it would be stationary where exp(-E/τ) is the data's law.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the box in which chains start.
        chains: how many the buffer holds.
        restart: the probability with which a chain that is taken begins anew from uniform noise in the box.
        steps: transitions an update.
        step_size: ε of x <- x + (ε/2) s(x) + √(τε) z; given in units of local_scale².
        temperature: τ.
        data_noise: standard deviation c of the noise on the data, in units of x.
        decay: λ, the weight of the squared energies.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. `chains` is (chains, *event), or (S, chains, *event).
    """

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        chains: Annotated[int, Integer(100, 100_000)] = 10_000,
        restart: Annotated[float, Linear(0.0, 1.0)] = 0.05,
        steps: Annotated[int, Integer(1, 200)] = 20,
        step_size: Annotated[float, StepSize(1e-3, 1000.0, checked=False)] = 2.0,
        temperature: Annotated[float, Log(1e-7, 1.0)] = 5e-5,
        data_noise: Annotated[float, Linear(0.0, 1.0)] = 0.03,
        decay: Annotated[float, Linear(0.0, 10.0)] = 0.1,
    ) -> None:
        super().__init__(x_train, rng, chains=chains, restart=restart)
        self.steps, self.step_size, self.temperature = steps, step_size, temperature
        self.data_noise, self.decay = data_noise, decay

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        slots, start, _ = self.take(x, rng)
        negatives = langevin(
            energy, start, rng, steps=self.steps, step_size=self.step_size, temperature=self.temperature
        )
        self.put(slots, negatives)
        up, down = energy(x + self.data_noise * rng.normal_like(x)), energy(negatives)
        return up - down + self.decay * (up.square() + down.square())
