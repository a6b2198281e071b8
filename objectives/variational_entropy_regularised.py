"""Maximum likelihood with a generator of maximum entropy in place of chains (VERA)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from bench.api import Energy, Integer, Linear, Log, Rng, objective, score, sum_event


@objective(
    label="VERA",
    family="variational maximum likelihood",
    minimiser="none",
    source="Grathwohl et al. 2021, No MCMC for me: amortized sampling for fast and stable training of EBMs",
    note="What its generator cannot reach, the energy does not learn.",
    stationary="sampler",
    bias={"slope": 1},
    proof={"width": 16, "samples": 5, "slope": 0.0},
)
class VariationalEntropyRegularised(nn.Module):
    r"""E(x) - E(sg x⁻) + (γ/2)‖∇E(x)‖² for the energy, E_sg(x⁻) - H(r) for the generator, x⁻ = g(z) + τε ~ r.

    The maximum of -E_r[E] + H(r) over all laws r is log Z, at r = q; there the first two terms have the gradient of
    maximum likelihood. The entropy's gradient is that of -∇log r(x⁻)ᵀx⁻ with the slope held fixed, and ∇log r(x⁻) =
    E[(g(z') - x⁻) / τ² | x⁻] a self-normalised average over z' ~ N(z, η²I), for the z that made x⁻.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the generator's centre, spread and size.
        latent: the dimension of z ~ N(0, I).
        width: units in each of two hidden layers of SiLU of the generator, which takes a step with the energy.
        samples, proposal: the draws of z' for each x⁻, and their standard deviation η about z.
        slope: γ, in squared units of x; without it energies between generator and data rise without bound.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats; the generator adds 0. Weights are (in, out), or (S, in, out).
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
        slope: Annotated[float, Linear(0.0, 1.0)] = 0.1,
    ) -> None:
        super().__init__()
        self.latent, self.samples, self.proposal, self.slope = latent, samples, proposal, slope
        flat = x_train.flatten(rng.batch_ndim)
        self.register_buffer("centre", flat.mean(-2, keepdim=True))
        self.register_buffer("spread", flat.var((-2, -1), keepdim=True).sqrt())
        sizes = ((latent, width), (width, width), (width, flat.shape[-1]))
        draws = [(2 * rng.uniform((*rng.batch_shape(a), b), flat.dtype) - 1) * (3 / a) ** 0.5 for a, b in sizes]
        self.weights = nn.ParameterList(nn.Parameter(draw) for draw in draws)
        self.biases = nn.ParameterList(nn.Parameter(flat.new_zeros((*rng.batch_shape(1), b))) for _, b in sizes)
        self.log_tau = nn.Parameter((0.1 * self.spread).log())

    def generate(self, z: Tensor) -> Tensor:
        """g: (*batch, latent) -> (*batch, d)."""
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = (nn.functional.silu(z) if k else z) @ weight + bias
        return self.centre + self.spread * z

    def log_law_slope(self, x: Tensor, z: Tensor, rng: Rng) -> Tensor:
        """∇log r at points (*batch, *event) that were made from z (*batch, latent)."""
        start = z.repeat_interleave(self.samples, rng.batch_ndim - 1)
        step = rng.normal_like(start)
        end = start + self.proposal * step
        offset = self.generate(end).unflatten(-2, (-1, self.samples)) - x.flatten(rng.batch_ndim).unsqueeze(-2)
        variance = (2 * self.log_tau).exp().unsqueeze(-1)
        prior = 0.5 * (step.square() - end.square()).sum(-1).unflatten(-1, (-1, self.samples))
        weights = (prior - 0.5 * offset.square().sum(-1) / variance.squeeze(-1)).softmax(-1).unsqueeze(-1)
        slope: Tensor = (weights * offset).sum(-2) / variance.squeeze(-1)
        return slope.reshape(x.shape)

    def draw(self, x_like: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """z (*batch, latent), and x⁻ = g(z) + τε shaped as x_like."""
        z = rng.normal((*x_like.shape[: rng.batch_ndim], self.latent), x_like.dtype)
        flat = self.generate(z)
        return z, (flat + self.log_tau.exp() * rng.normal_like(flat)).reshape(x_like.shape)

    def sample(self, energy: Energy, x_like: Tensor, rng: Rng) -> Tensor:
        """The generator's draws; the energy has no part in them."""
        return self.draw(x_like, rng)[1]

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        z, generated = self.draw(x, rng)
        negatives = generated.detach()
        with torch.no_grad():
            ascent = score(energy, negatives) - self.log_law_slope(negatives, z, rng)
        loss = energy(x) - energy(negatives) - sum_event(ascent * (generated - negatives), rng)
        if self.slope > 0:
            loss = loss + 0.5 * self.slope * sum_event(score(energy, x, create_graph=True).square(), rng)
        return loss
