"""Contrastive divergence for the pseudo-spherical score: data weighed by the model, chains on a power of it."""

from typing import Annotated

from torch import Tensor

from bench.api import ChainBuffer, Energy, Integer, Linear, Rng, StepSize, langevin, objective


@objective(
    label="PS-CD",
    family="contrastive divergence",
    divergence="pseudo-spherical",
    bias={"restart": 1, "step_size": 1, "decay": 1, "gamma": 1},
    source="Yu et al. 2021, Pseudo-spherical contrastive divergence",
    note="gamma = 0 is persistent contrastive divergence. Weights normalised within a batch are biased, the more the "
    "further gamma is from 0 and the higher the dimension; chains by their restarts, their step and decay.",
    proof={"gamma": -0.1, "chains": 128, "restart": 0.0, "step_size": 0.05, "decay": 0.0},
)
class PseudoSphericalContrastiveDivergence(ChainBuffer):
    r"""v E(x) - E(x⁻) + (λ/d)[E(x)² + E(x⁻)²], v = sg(B softmax(-γE(x))) over the batch, x⁻ from a chain on q^{1+γ}.

    Its gradient is that of -(1/γ) log E_p[e^{-γE}] + (1/(1+γ)) log ∫ e^{-(1+γ)E}, minus the logarithm of the
    pseudo-spherical score: least at q = p alone for every γ > -1 (γ ≠ 0), and free of Z. As γ -> 0 it is maximum
    likelihood. A positive γ weighs data that the model finds likely: it hardly sees outliers, nor modes that the model
    has begun to lose, which then are lost. A negative one weighs what is not yet covered. The chains are persistent, as
    in `persistent_contrastive_divergence`, with λ to hold the energy's range down; a chain on q^{1+γ} is one on q at
    the temperature 1/(1+γ).

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the box in which chains start.
        gamma: γ.
        chains: how many the buffer holds.
        restart: the probability with which a chain that is taken begins anew from uniform noise in the box.
        steps: transitions an update.
        step_size: ε of x <- x + (ε/2) s(x) + √(ε/(1+γ)) z; given in units of local_scale².
        decay: λ, the weight of the squared energies, in inverse nats.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. `chains` is (chains, *event), or (S, chains, *event).
    """

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        gamma: Annotated[float, Linear(-0.9, 4.0)] = -0.3,
        chains: Annotated[int, Integer(100, 100_000)] = 10_000,
        restart: Annotated[float, Linear(0.0, 1.0)] = 0.05,
        steps: Annotated[int, Integer(1, 200)] = 20,
        step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.4,
        decay: Annotated[float, Linear(0.0, 10.0)] = 0.06,
    ) -> None:
        super().__init__(x_train, rng, chains=chains, restart=restart)
        self.gamma, self.steps, self.step_size = gamma, steps, step_size
        self.decay = decay / x_train.flatten(rng.batch_ndim).shape[-1]

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        slots, start, _ = self.take(x, rng)
        cold = 1 / (1 + self.gamma)
        negatives = langevin(energy, start, rng, steps=self.steps, step_size=self.step_size, temperature=cold)
        self.put(slots, negatives)
        up, down = energy(x), energy(negatives)
        weights = up.shape[-1] * (-self.gamma * up.detach()).softmax(-1)
        return weights * up - down + self.decay * (up.square() + down.square())
