"""Any f-divergence by its variational form: a critic learns the density ratio, the energy follows it."""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from bench.api import ChainBuffer, Choice, Energy, Integer, Linear, Log, Rng, StepSize, langevin, objective

FREQUENCY = 1.5  # of the critic's features in the plane, in radians per standard deviation of the data
CLIP = 5.0  # of the critic inside an exponential


def _exp(h: Tensor) -> Tensor:
    return h.clamp(-CLIP, CLIP).exp()


# f'(e^h) and f*(f'(e^h)), each up to a constant
F: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "kullback_leibler": (lambda h: h, _exp),
    "reverse_kullback_leibler": (lambda h: -_exp(-h), lambda h: h),
    "pearson": (lambda h: 2 * _exp(h), lambda h: _exp(h).square()),
    "jensen_shannon": (lambda h: -softplus(-h), softplus),
    "squared_hellinger": (lambda h: -_exp(-h / 2), lambda h: _exp(h / 2)),
}


@objective(
    label="f-EBM",
    family="variational maximum likelihood",
    divergence="f-divergence",
    bias=None,
    source="Yu et al. 2020, Training deep energy-based models with f-divergence minimization",
    note="A game: the energy learns from its own draws alone, as the critic weighs them, and sees the data through it.",
    proof={"chains": 128, "restart": 0.0, "step_size": 0.05, "decay": 0.0, "width": 32, "critic_lr": 0.02},
)
class FDivergenceEnergyBasedModel(ChainBuffer):
    r"""f'(e^{H(x)}) - F(x⁻) + sg(F(x⁻) - F̄) E(x⁻) + (λ/d)E(x⁻)², F = f*(f'(e^H)), F̄ its mean, x⁻ ~ q by chains.

    D_f(p‖q) = max over H of E_p[f'(e^H)] - E_q[f*(f'(e^H))], attained at H = log p/q. Its gradient in the energy is the
    covariance of F and ∇E under q. The energy minimises, the critic H maximises, a step each: two hidden layers of SiLU
    on random Fourier features, without which it is too slow for many modes. Chains are persistent, and λ holds their
    energies' range down. Exponents are clipped to ±5. The energy's term adds nothing to the value.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the chains' box and the critic's units.
        kind, decay: the f-divergence, and λ in inverse nats.
        chains, restart, steps, step_size: as in persistent_contrastive_divergence.
        width, critic_lr: units in a hidden layer of the critic, its learning rate before warm-up and decay.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. Weights are (in, out), or (S, in, out).
    """

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        kind: Annotated[str, Choice(*F)] = "jensen_shannon",
        chains: Annotated[int, Integer(100, 100_000)] = 10_000,
        restart: Annotated[float, Linear(0.0, 1.0)] = 0.05,
        steps: Annotated[int, Integer(1, 200)] = 20,
        step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.4,
        decay: Annotated[float, Linear(0.0, 10.0)] = 0.1,
        width: Annotated[int, Integer(1, 1024)] = 64,
        critic_lr: Annotated[float, Log(1e-6, 1e-1)] = 1e-2,
    ) -> None:
        super().__init__(x_train, rng, chains=chains, restart=restart)
        self.kind, self.steps, self.step_size, self.critic_lr = kind, steps, step_size, critic_lr
        flat = x_train.flatten(rng.batch_ndim)
        dim, scale = flat.shape[-1], flat.var((-2, -1), keepdim=True).sqrt()
        self.decay, waves = decay / dim, rng.normal((*rng.batch_shape(dim), width), flat.dtype)
        self.waves = nn.Buffer(FREQUENCY * (2 / dim) ** 0.5 * waves / scale)
        sizes = ((dim + 2 * width, width), (width, width), (width, 1))
        draws = [(2 * rng.uniform((*rng.batch_shape(a), b), x_train.dtype) - 1) / a**0.5 for a, b in sizes]
        self.weights = nn.ParameterList(nn.Parameter(draw) for draw in draws)
        self.biases = nn.ParameterList(nn.Parameter(x_train.new_zeros((*rng.batch_shape(1), b))) for _, b in sizes)

    def param_groups(self) -> list[dict[str, Any]]:
        """The critic climbs where the energy descends."""
        return [{"params": list(self.parameters()), "lr": self.critic_lr, "maximize": True}]

    def critic(self, x: Tensor, rng: Rng) -> Tensor:
        """H: (*batch, *event) -> (*batch,)."""
        flat = x.flatten(rng.batch_ndim)
        h = torch.cat([flat, (flat @ self.waves).sin(), (flat @ self.waves).cos()], -1)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = (silu(h) if k else h) @ weight + bias
        return h.squeeze(-1)

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        slots, start, _ = self.take(x, rng)
        negatives = langevin(energy, start, rng, steps=self.steps, step_size=self.step_size)
        self.put(slots, negatives)
        down, second = energy(negatives), F[self.kind][1](self.critic(negatives, rng))
        push = (second - second.mean(-1, keepdim=True)).detach() * (down - down.detach())
        return F[self.kind][0](self.critic(x, rng)) - second + push + self.decay * down.square()
