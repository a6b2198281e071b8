"""Recovery likelihood along a diffusion whose chains start where a second network proposes."""

from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from bench.api import (
    Energy,
    Integer,
    Linear,
    Log,
    NoiseInterval,
    Rng,
    Sigma,
    conditioned,
    langevin,
    noise_interval,
    noised_twice,
    objective,
    per_example,
    posterior_energy,
    sum_event,
)


@objective(
    label="CDRL",
    family="diffusion contrastive divergence",
    divergence="anchored diffusion contrastive",
    bias={"steps": -1},
    energy="noise",
    levels="intervals",
    minimiser="smoothed",
    source="Zhu et al. 2024, Learning energy-based models by cooperative diffusion recovery likelihood",
    note="Chains start at learned proposals. Unlike the released code, levels share no noise. Evaluated at sigma_min.",
    proof={"levels": 2, "steps": 300, "step": 0.2, "sigma_min": 0.5, "width": 8},
)
class CooperativeDiffusionRecoveryLikelihood(nn.Module):
    r"""(σ₀/σₖ)^w [E(xₖ, σₖ) - E(x', σₖ)] + ‖sg(x') - u‖²/2s², u = y + s·g(y, σₖ) + (σₖ/σₖ₊₁)sξ, ξ ~ N(0, I).

    x' = sg(`steps` transitions x <- x + (b²s²/2) ∇log q(x|y) + bs ε from u), y = xₖ + sε', s² = σₖ₊₁² - σₖ², on
    q(x|y) ∝ exp(-E(x, σₖ) - ‖x - y‖²/2s²). The initialiser g, two hidden layers of SiLU, learns the way that chains
    have gone from its proposals, so these come to be near draws of q(·|y). It takes a step with each of the energy.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the size of an event.
        sigma_min, sigma_max, levels, steps, step, weight: as in diffusion_recovery_likelihood, step being b.
        width, initialiser_lr: units in a hidden layer of g, and its learning rate before warm-up and decay.

    Shape:
        x (*batch, *event) -> loss (*batch,). Weights are (in, out), or (S, in, out).
    """

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 0.5,
        sigma_max: Annotated[float, Log(0.1, 100.0)] = 2.0,
        levels: Annotated[int, Integer(1, 1000)] = 6,
        steps: Annotated[int, Integer(1, 1000)] = 15,
        step: Annotated[float, Log(1e-3, 1.0)] = 0.3,
        weight: Annotated[float, Linear(-2.0, 2.0)] = 1.0,
        width: Annotated[int, Integer(1, 1024)] = 64,
        initialiser_lr: Annotated[float, Log(1e-6, 1e-1)] = 1e-2,
    ) -> None:
        super().__init__()
        self.steps, self.step, self.sigma_min, self.weight = steps, step, sigma_min, weight
        self.interval = partial(noise_interval, sigma_min=sigma_min, sigma_max=sigma_max, levels=levels)
        self.rate, dim = initialiser_lr, x_train.flatten(rng.batch_ndim).shape[-1]
        sizes = ((dim + 1, width), (width, width), (width, dim))
        draws = [(2 * rng.uniform((*rng.batch_shape(a), b), x_train.dtype) - 1) * (3 / a) ** 0.5 for a, b in sizes]
        self.weights = nn.ParameterList(map(nn.Parameter, [*draws[:2], 0 * draws[2]]))  # proposals start about y
        self.biases = nn.ParameterList(nn.Parameter(x_train.new_zeros((*rng.batch_shape(1), b))) for _, b in sizes)

    def param_groups(self) -> list[dict[str, Any]]:
        """The initialiser, at a rate of its own."""
        return [{"params": list(self.parameters()), "lr": self.rate}]

    def propose(self, y: Tensor, here: NoiseInterval, rng: Rng) -> Tensor:
        """u: (*batch, *event) -> (*batch, *event)."""
        upper = (here.sigma.square() + here.gap.square()).sqrt()
        h = torch.cat([y.flatten(rng.batch_ndim), upper.log().unsqueeze(-1)], -1)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = (silu(h) if k else h) @ weight + bias
        h = h.reshape(y.shape) + per_example(here.sigma / upper, y) * rng.normal_like(y)
        return y + per_example(here.gap, y) * h

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        x_k, y, _ = noised_twice(x, here := self.interval(x, rng), rng)
        start = self.propose(y, here, rng)
        posterior = posterior_energy(conditioned(energy, here.sigma), y, rng, sigma=here.gap)
        negatives = langevin(posterior, start.detach(), rng, steps=self.steps, step_size=(self.step * here.gap) ** 2)
        contrast = energy(x_k, here.sigma) - energy(negatives, here.sigma)
        way = sum_event((negatives - start).square(), rng) / (2 * here.gap.square())
        return (self.sigma_min / here.sigma) ** self.weight * contrast + way
