"""Persistent contrastive divergence with Metropolis-adjusted chains, whose step adapts to the energy."""

from typing import Annotated

import torch
from torch import Tensor

from bench.api import ChainBuffer, Energy, Integer, Linear, Rng, StepSize, mala, objective

ADAPTATION = 0.1  # nats of log ε a unit of acceptance rate


@objective(
    label="PCD-MALA",
    family="contrastive divergence",
    source="Tieleman 2008, Training restricted Boltzmann machines using approximations to the likelihood gradient; "
    "chains of Roberts & Tweedie 1996",
    note="The fixed point is the data's law as restart and decay vanish, at every step size.",
    proof={"chains": 128, "restart": 0.0, "decay": 0.0},
)
class PersistentContrastiveDivergenceMala(ChainBuffer):
    r"""E(x) - E(x⁻) + (λ/d)[E(x)² + E(x⁻)²], x⁻ = sg(`steps` MALA transitions, begun where they last ended).

    The chains of persistent_contrastive_divergence with a Metropolis test: they keep exp(-E) at any step, where
    unadjusted ones widen it by 1 / (1 - ε/4v) in a direction of variance v. So ε need not be small beside the data's
    narrowest variance; after each update it moves by ln ε <- ln ε + (a - a*)/10 towards the acceptance rate a* =
    `acceptance`, each seed's on its own. As ε settles, the chains' law is that of a fixed ε.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the box in which chains start.
        chains: how many the buffer holds.
        restart: the probability with which a chain that is taken begins anew from uniform noise in the box.
        steps: transitions an update.
        step_size: the first ε of the proposal x + (ε/2) s(x) + √ε z; given in units of local_scale².
        acceptance: a*; .57 is optimal in many dimensions (Roberts & Rosenthal 1998).
        decay: λ, the weight of the squared energies, in inverse nats; divided by the dimension d of an event.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. `chains` is (chains, *event), or (S, chains, *event).
    """

    epsilon: Tensor

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        chains: Annotated[int, Integer(100, 100_000)] = 1_000,
        restart: Annotated[float, Linear(0.0, 1.0)] = 0.05,
        steps: Annotated[int, Integer(1, 200)] = 20,
        step_size: Annotated[float, StepSize(1e-3, 10.0, checked=False)] = 0.5,
        acceptance: Annotated[float, Linear(0.1, 0.95)] = 0.57,
        decay: Annotated[float, Linear(0.0, 10.0)] = 0.06,
    ) -> None:
        super().__init__(x_train, rng, chains=chains, restart=restart)
        self.steps, self.acceptance = steps, acceptance
        self.decay = decay / x_train.flatten(rng.batch_ndim).shape[-1]
        self.register_buffer("epsilon", torch.full(rng.batch_shape(1), step_size).to(x_train))

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        slots, start, _ = self.take(x, rng)
        chain = mala(energy, start, rng, steps=self.steps, step_size=self.epsilon.expand(x.shape[: rng.batch_ndim]))
        self.put(slots, chain.x)
        rate = chain.acceptance.mean(-1, keepdim=True)
        self.epsilon.mul_((ADAPTATION * (rate - self.acceptance)).exp())
        up, down = energy(x), energy(chain.x)
        return up - down + self.decay * (up.square() + down.square())
