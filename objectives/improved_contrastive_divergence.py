"""Persistent contrastive divergence with a term for the chains' dependence on the energy."""

from typing import Annotated

import torch
from torch import Tensor

from bench.api import ChainBuffer, Energy, Integer, Linear, Rng, StepSize, langevin, objective, score


@objective(
    label="ICD",
    family="contrastive divergence",
    minimiser="none",
    source="Du et al. 2021, Improved contrastive divergence training of energy based models",
    note="The third term is added, as released, where the gradient of contrastive divergence subtracts it.",
    stationary="data",
    proof={
        "chains": 200,
        "neighbours": 50,
        "restart": 0.0,
        "steps": 60,
        "step_size": 0.02,
        "energy_weight": 0.0,
        "entropy_weight": 0.0,
    },
)
class ImprovedContrastiveDivergence(ChainBuffer):
    r"""E(x) - E(sg x⁻) + μ E_sg(x⁻(θ)) - η log ‖x⁻(θ) - nearest‖, x⁻(θ) differentiated through its last transition.

    The two last terms estimate KL(law of x⁻ ‖ q) up to log Z: energy less entropy, the entropy by the distance to the
    nearest of `neighbours` other chains. E_sg is the energy with its parameters held fixed, so both train the energy
    only through the place x⁻(θ) to which it drives the chain. The gradient of KL(p‖q) - KL(Πᵏp‖q) *subtracts* ∇θ of
    that KL; the paper's released code *adds* it, and so does this: it rewards energies whose chains mix, and moves the
    fixed point from q = p by as much as the chains fall short of q. With μ = η = 0 this is persistent contrastive
    divergence.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the box in which chains start.
        chains: how many the buffer holds.
        restart: the probability with which a chain that is taken begins anew from uniform noise in the box.
        steps: transitions an update.
        step_size: ε of x <- x + (ε/2) s(x) + √ε z; given in units of local_scale².
        neighbours: the chains among which the nearest one is sought.
        energy_weight: μ.
        entropy_weight: η.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. `chains` is (chains, *event), or (S, chains, *event).
    """

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        chains: Annotated[int, Integer(200, 100_000)] = 10_000,
        restart: Annotated[float, Linear(0.0, 1.0)] = 0.05,
        steps: Annotated[int, Integer(1, 200)] = 10,
        step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.3,
        neighbours: Annotated[int, Integer(1, 1000)] = 100,
        energy_weight: Annotated[float, Linear(0.0, 1.0)] = 1.0,
        entropy_weight: Annotated[float, Linear(0.0, 1.0)] = 0.3,
    ) -> None:
        super().__init__(x_train, rng, chains=chains, restart=restart)
        self.steps, self.step_size, self.neighbours = steps, step_size, neighbours
        self.energy_weight, self.entropy_weight = energy_weight, entropy_weight

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        slots, start, others = self.take(x, rng, bystanders=self.neighbours)
        before = langevin(energy, start, rng, steps=self.steps - 1, step_size=self.step_size)
        drift = 0.5 * self.step_size * score(energy, before, create_graph=True)
        moved = before + drift + self.step_size**0.5 * rng.normal_like(x)
        negatives = moved.detach()
        self.put(slots, negatives)
        down = energy(negatives)
        # the value and slope of E at x⁻ are constants here, so θ is reached through the place alone
        rise = -(score(energy, negatives) * (moved - negatives)).flatten(rng.batch_ndim).sum(-1)
        flat, pool = moved.flatten(rng.batch_ndim), others.flatten(rng.batch_ndim)
        nearest = torch.cdist(flat.detach(), pool).argmin(-1, keepdim=True).expand_as(flat)
        distance = (flat - pool.gather(self.axis, nearest)).square().sum(-1)
        log_distance = 0.5 * (distance + torch.finfo(x.dtype).tiny).log()
        sampler_term: Tensor = self.energy_weight * (down.detach() + rise) - self.entropy_weight * log_distance
        return energy(x) - down + sampler_term
