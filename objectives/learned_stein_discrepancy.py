"""The Stein discrepancy under a learned critic."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from bench.api import Energy, Integer, Log, Rng, objective, score, sum_event


@objective(
    label="LSD",
    family="score matching",
    divergence="Stein",
    bias=None,
    source="Grathwohl et al. 2020, Learning the Stein discrepancy for training and evaluating energy-based models",
    note="A game: at its best critic the loss is Fisher divergence / 4λ, blind to the weights of separate modes.",
    proof={"width": 16},
)
class LearnedSteinDiscrepancy(nn.Module):
    r"""s(x)ᵀf(x) + vᵀ∇f(x)v - λ‖f(x)‖², v ∈ {-1, 1}ᵈ; the energy minimises it, the critic f maximises it.

    By Stein's identity E_p[sᵀf + tr ∇f] = E_p[(s - ∇log p)ᵀf], so the best critic is f = (s - ∇log p) / 2λ and the loss
    there is E_p‖s - ∇log p‖² / 4λ, found without a second derivative of the energy. The critic, two hidden layers of
    SiLU, takes one step with each step of the energy, at a learning rate of its own; the paper takes five steps.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the size of an event.
        width: units in a hidden layer of the critic.
        penalty: λ, in squared units of x.
        critic_lr: the critic's learning rate, before warm-up and decay; a critic slower than the energy is none.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats per squared unit of x. Weights are (in, out), or (S, in, out).
    """

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        width: Annotated[int, Integer(1, 1024)] = 64,
        penalty: Annotated[float, Log(1e-3, 1e3)] = 10.0,
        critic_lr: Annotated[float, Log(1e-6, 1e-1)] = 2e-2,
    ) -> None:
        super().__init__()
        self.penalty, self.critic_lr = penalty, critic_lr
        dim = x_train[(0,) * rng.batch_ndim].numel()
        sizes = ((dim, width), (width, width), (width, dim))
        stack, dtype = rng.batch_shape(0)[:-1], x_train.dtype
        draws = [(2 * rng.uniform((*stack, *size), dtype) - 1) / size[0] ** 0.5 for size in sizes]
        self.weights = nn.ParameterList(nn.Parameter(draw) for draw in draws)
        self.biases = nn.ParameterList(nn.Parameter(x_train.new_zeros((*stack, 1, size[1]))) for size in sizes)

    def param_groups(self) -> list[dict[str, Any]]:
        """The critic climbs where the energy descends."""
        return [{"params": list(self.parameters()), "lr": self.critic_lr, "maximize": True}]

    def critic(self, x: Tensor, rng: Rng) -> Tensor:
        """f: (*batch, *event) -> (*batch, *event)."""
        h = x.flatten(rng.batch_ndim)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = h @ weight + bias if k == 0 else silu(h) @ weight + bias
        return h.reshape(x.shape)

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        v = rng.rademacher_like(x)
        s = score(energy, x, create_graph=True)
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            f = self.critic(x, rng)
            (product,) = torch.autograd.grad((f * v).sum(), x, create_graph=True)
        return sum_event(s * f + v * product - self.penalty * f.square(), rng)
