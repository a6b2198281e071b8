"""Persistent contrastive divergence with a buffer of chains."""

from typing import Annotated

from torch import Tensor

from bench.api import ChainBuffer, Energy, Integer, Linear, Rng, StepSize, langevin, objective


@objective(
    label="PCD",
    family="contrastive divergence",
    divergence="maximum likelihood",
    bias={"restart": 1, "step_size": 1, "decay": 1},
    source="Tieleman 2008, Training restricted Boltzmann machines using approximations to the likelihood gradient; "
    "replay buffer of Du & Mordatch 2019, Implicit generation and modeling with energy-based models",
    note="The fixed point is the data's law as restart, step_size and decay vanish: restarted chains have not "
    "converged, and the squared energies pull E towards 0.",
    proof={"chains": 128, "restart": 0.0, "step_size": 0.05, "decay": 0.0},
)
class PersistentContrastiveDivergence(ChainBuffer):
    r"""E(x) - E(x⁻) + (λ/d)[E(x)² + E(x⁻)²], x⁻ = sg(`steps` Langevin transitions, begun where they last ended).

    A buffer holds the chains. Each update takes as many distinct chains as there are data, restarts a small part of
    them from noise, moves them, and writes them back to the slots that they came from. Noise is uniform on the
    smallest box that holds the training data; restarts reach modes that the chains have not found and find the
    holes of the energy outside the data. With λ = 0 it estimates the maximum likelihood gradient, without bias for
    chains that have reached q. The contrast leaves the level of E free and the height of barriers to chains that cannot
    cross them; λ holds the energy's range down, so that chains go on moving between modes (λ = 1 in Du & Mordatch).

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the box.
        chains: how many the buffer holds.
        restart: the probability with which a chain that is taken begins anew from noise.
        steps: transitions an update.
        step_size: ε of x <- x + (ε/2) s(x) + √ε z; given in units of local_scale².
        decay: λ, the weight of the squared energies, in inverse nats; divided by the dimension d of an event, since
            energies grow with it.

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
        step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.4,
        decay: Annotated[float, Linear(0.0, 10.0)] = 0.06,
    ) -> None:
        super().__init__(x_train, rng, chains=chains, restart=restart)
        self.steps, self.step_size = steps, step_size
        self.decay = decay / x_train.flatten(rng.batch_ndim).shape[-1]

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        slots, start, _ = self.take(x, rng)
        negatives = langevin(energy, start, rng, steps=self.steps, step_size=self.step_size)
        self.put(slots, negatives)
        up, down = energy(x), energy(negatives)
        return up - down + self.decay * (up.square() + down.square())
