"""Maximum likelihood with a generator of maximum entropy in place of chains (VERA)."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from bench.api import Energy, Integer, Linear, Log, Rng, objective, score, sum_event


@objective(
    family="variational maximum likelihood",
    minimiser="none",
    source="Grathwohl et al. 2021, No MCMC for me: amortized sampling for fast and stable training of EBMs",
    note="As good as its generator: what the generator cannot reach, the energy does not learn.",
)
class VariationalEntropyRegularised(nn.Module):
    r"""E(x) - E(sg x⁻) + (γ/2)‖∇E(x)‖² for the energy, E_sg(x⁻) - H(r) for the generator, x⁻ = g(z) + τε ~ r.

    The maximum of -E_r[E] + H(r) over all laws r is log Z, at r = q; there the first two terms have the gradient of
    maximum likelihood. The entropy's gradient is that of -∇log r(x⁻)ᵀx⁻ with the slope held fixed, and
    ∇log r(x⁻) = E[(g(z') - x⁻) / τ² | x⁻] is a self-normalised average over z' ~ N(z, η²I), which begin at the z that
    made x⁻. The generator, two hidden layers of SiLU, and τ take one step with each step of the energy. Its part adds
    nothing to the loss's value.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the generator's centre, spread and size.
        latent: the dimension of z ~ N(0, I).
        width: units in a hidden layer of the generator.
        samples: draws of z' for each x⁻.
        proposal: η, the standard deviation of z' about z.
        slope: γ, in squared units of x.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. Weights are (in, out), or (S, in, out).
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        latent: Annotated[int, Integer(1, 1024)] = 2,
        width: Annotated[int, Integer(1, 1024)] = 64,
        samples: Annotated[int, Integer(1, 256)] = 20,
        proposal: Annotated[float, Log(1e-3, 1.0)] = 0.1,
        slope: Annotated[float, Linear(0.0, 1.0)] = 0.0,
    ) -> None:
        super().__init__()
        self.latent, self.samples, self.proposal, self.slope = latent, samples, proposal, slope
        flat = x_train.flatten(rng.batch_ndim)
        self.register_buffer("centre", flat.mean(-2, keepdim=True))
        self.register_buffer("spread", flat.var((-2, -1), keepdim=True).sqrt())
        sizes = ((latent, width), (width, width), (width, flat.shape[-1]))
        stack = rng.batch_shape(0)[:-1]
        draws = [(2 * rng.uniform((*stack, *size), flat.dtype) - 1) * (3 / size[0]) ** 0.5 for size in sizes]
        self.weights = nn.ParameterList(nn.Parameter(draw) for draw in draws)
        self.biases = nn.ParameterList(nn.Parameter(flat.new_zeros((*stack, 1, size[1]))) for size in sizes)
        self.log_tau = nn.Parameter((0.1 * self.spread).log())

    def generate(self, z: Tensor) -> Tensor:
        """g: (*batch, latent) -> (*batch, d)."""
        h = z
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = h @ weight + bias if k == 0 else silu(h) @ weight + bias
        return self.centre + self.spread * h

    def log_law_slope(self, flat: Tensor, z: Tensor, rng: Rng) -> Tensor:
        """∇log r at points (*batch, d) that were made from z (*batch, latent)."""
        start = z.repeat_interleave(self.samples, rng.batch_ndim - 1)
        step = rng.normal_like(start)
        end = start + self.proposal * step
        offset = self.generate(end).unflatten(-2, (-1, self.samples)) - flat.unsqueeze(-2)
        variance = (2 * self.log_tau).exp().unsqueeze(-1)
        prior = 0.5 * (step.square() - end.square()).sum(-1).unflatten(-1, (-1, self.samples))
        weights = (prior - 0.5 * offset.square().sum(-1) / variance.squeeze(-1)).softmax(-1)
        mean_offset: Tensor = (weights.unsqueeze(-1) * offset).sum(-2)
        return mean_offset / variance.squeeze(-1)

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        z = rng.normal((*x.shape[: rng.batch_ndim], self.latent), x.dtype)
        flat = self.generate(z)
        flat = flat + self.log_tau.exp() * rng.normal_like(flat)
        generated = flat.reshape(x.shape)
        negatives = generated.detach()
        with torch.no_grad():
            ascent = score(energy, negatives) - self.log_law_slope(flat, z, rng).reshape(x.shape)
        loss = energy(x) - energy(negatives) - sum_event(ascent * (generated - negatives), rng)
        if self.slope > 0:
            loss = loss + 0.5 * self.slope * sum_event(score(energy, x, create_graph=True).square(), rng)
        return loss
