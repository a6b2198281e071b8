"""Energy matching: one potential that transports noise to data, and is the data's energy once there."""

from typing import Annotated

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from bench.api import Energy, Integer, Linear, Log, Rng, langevin, objective, per_example, score, sum_event


def _paired(noise: Tensor, x: Tensor, rng: Rng) -> Tensor:
    """The noise, in the order of the exact optimal transport to x at squared distance: (*batch, *event)."""
    axis, flat = rng.batch_ndim - 1, x.flatten(rng.batch_ndim)
    costs = torch.cdist(flat, noise.flatten(rng.batch_ndim)).square().reshape(-1, flat.shape[-2], flat.shape[-2])
    order = [torch.from_numpy(linear_sum_assignment(cost)[1]) for cost in costs.detach().cpu().numpy()]
    index = per_example(torch.stack(order).to(x.device).reshape(x.shape[: rng.batch_ndim]), x)
    return noise.gather(axis, index.expand_as(x))


@objective(
    label="EnergyMatching",
    family="flow matching",
    minimiser="none",
    source="Balcerak et al. 2025, Energy matching: unifying flow matching and energy-based models for generative "
    "modeling, arXiv 2504.10612",
    note="The contrast would be stationary at the data, the flow term is not: what is learned lies between. Chains run "
    "in the first phase, too, where the contrast does not count yet, so that every step costs the same.",
    stationary="data",
    proof={"flow": 0.0, "prior_share": 0.0, "flow_calls": 0, "dt": 0.1, "steps": 4},
    host_work="optimal transport between noise and data is an assignment, solved on the host",
)
class EnergyMatching(nn.Module):
    r"""(φw(t)/d) ‖∇V(xₜ) + x - x₀‖² + c [V(x) - V(x⁻)], xₜ = (1-t) x₀ + tx + ρz, t ~ U(0, 1), V = εE, c = 0 at first.

    x₀ ~ N(0, I) is paired with the batch by exact optimal transport. In the first phase V learns to transport noise to
    data, with w = 1. In the second w falls from 1 at t = τ* to 0 at t = 1, and the contrast makes e^{-V/ε} = exp(-E)
    the data's law there. x⁻ are ends of Langevin chains on V, x <- x - ∇V dt + √(2ε(t)dt) z: a share begins in noise at
    t = 0, the others at data at t = 1. Towards t = 1 the temperature ε(t) rises from 0 up to τ* to ε; chains from noise
    that are hot too shortly are no draws of exp(-E), and bias it. The paper takes 200 transitions of dt = .01, 20,000
    calls of the first phase and 2,000 of the second.

    Args:
        x_train: training data, of about unit scale, since the noise is; no more is read of them.
        flow, contrast, flow_calls: φ, c of the second phase, and calls of the first.
        epsilon, onset, spread: ε, τ*, and ρ in units of x.
        steps, dt: transitions of a chain, and their length in time.
        prior_share: the share of chains that begin in noise.

    Shape:
        x (*batch, *event) -> loss (*batch,).
    """

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        flow: Annotated[float, Linear(0.0, 10.0)] = 1.0,
        contrast: Annotated[float, Linear(0.0, 100.0)] = 2.0,
        flow_calls: Annotated[int, Integer(0, 1_000_000)] = 30,
        epsilon: Annotated[float, Log(1e-3, 10.0)] = 0.15,
        onset: Annotated[float, Linear(0.0, 0.99)] = 0.8,
        spread: Annotated[float, Linear(0.0, 1.0)] = 0.1,
        steps: Annotated[int, Integer(1, 1000)] = 40,
        dt: Annotated[float, Log(1e-4, 1.0)] = 0.03,
        prior_share: Annotated[float, Linear(0.0, 1.0)] = 0.5,
    ) -> None:
        super().__init__()
        self.flow, self.contrast, self.flow_calls, self.epsilon = flow, contrast, flow_calls, epsilon
        self.onset, self.spread, self.steps, self.dt, self.share = onset, spread, steps, dt, prior_share
        self.calls = nn.Buffer(x_train.new_zeros(()))

    def negatives(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        """Ends of chains from data and from noise; on V at ε(t), that is on E at ε(t)/ε with the step 2ε dt."""
        axis, step, from_noise = rng.batch_ndim - 1, 2 * self.epsilon * self.dt, rng.normal_like(x)
        parts = (count := round(self.share * x.shape[axis]), x.shape[axis] - count)
        noise, data = from_noise.split(parts, axis)[0], x.split(parts, axis)[1]
        if count:
            for k in range(1, self.steps + 1):
                heat = max(0.0, k / self.steps - self.onset) / (1 - self.onset)
                noise = langevin(energy, noise, rng, steps=1, step_size=step, temperature=heat)
        if parts[1]:
            data = langevin(energy, data, rng, steps=self.steps, step_size=step)
        return torch.cat([noise, data], axis)

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        second = (self.calls >= self.flow_calls).to(x.dtype)
        self.calls.add_(1)
        loss = self.contrast * second * self.epsilon * (energy(x) - energy(self.negatives(energy, x, rng)))
        if self.flow:
            start, t = _paired(rng.normal_like(x), x, rng), rng.uniform(x.shape[: rng.batch_ndim], x.dtype)
            at = torch.lerp(start, x, per_example(t, x)) + self.spread * rng.normal_like(x)
            drift = self.epsilon * score(energy, at, create_graph=True)
            fade = 1 - second * ((t - self.onset) / (1 - self.onset)).clamp(min=0)
            gap, dim = (drift - x + start).square(), x.flatten(rng.batch_ndim).shape[-1]
            loss = loss + self.flow / dim * fade * sum_event(gap, rng)
        return loss
