"""Short-run chains from noise, begun anew at every step."""

from typing import Annotated

from torch import Tensor

from bench.api import BoxNoise, Energy, Integer, Linear, Log, Rng, StepSize, langevin, objective


@objective(
    label="short-run",
    family="contrastive divergence",
    minimiser="none",
    source="Nijkamp et al. 2019, Learning non-convergent non-persistent short-run MCMC toward energy-based model",
    note="The model is the short chain from noise, not exp(-E): judge its samples, not its likelihood.",
    stationary="sampler",
    proof={"steps": 10, "data_noise": 0.0},
)
class ShortRunMcmc(BoxNoise):
    r"""E(x + cz) - E(x⁻), with x⁻ = sg(`steps` Langevin transitions from noise), z ~ N(0, I).

    Every chain starts from a uniform draw in the smallest box that holds the training data and ends long before it
    has converged. Stationary where data and *ends of chains* agree in the mean of ∇E: exp(-E) is whatever carries
    noise to the data in just so many steps, and is wrong by as much as the chains are short.

    The paper's images in [-1, 1] use 100 steps of gradient 1 and noise .01, which is ε = 2 and τ = 5e-5 here (chains
    that hardly diffuse), and c = .03. The default is τ = 1: then short chains are the only reason for being wrong.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the box.
        steps: transitions of each chain.
        step_size: ε of x <- x + (ε/2) s(x) + √(τε) z; given in units of local_scale².
        temperature: τ.
        data_noise: standard deviation c of the noise on the data, in units of x.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats.
    """

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        steps: Annotated[int, Integer(1, 1000)] = 60,
        step_size: Annotated[float, StepSize(1e-3, 1000.0, checked=False)] = 0.4,
        temperature: Annotated[float, Log(1e-6, 1.0)] = 1.0,
        data_noise: Annotated[float, Linear(0.0, 1.0)] = 0.03,
    ) -> None:
        super().__init__(x_train, rng)
        self.steps, self.step_size, self.temperature, self.data_noise = steps, step_size, temperature, data_noise

    def sample(self, energy: Energy, x_like: Tensor, rng: Rng) -> Tensor:
        """The ends of chains from noise, which are the model: (*batch, *event), shaped as x_like."""
        start = self.noise(tuple(x_like.shape), rng)
        return langevin(energy, start, rng, steps=self.steps, step_size=self.step_size, temperature=self.temperature)

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        negatives = self.sample(energy, x, rng)
        return energy(x + self.data_noise * rng.normal_like(x)) - energy(negatives)
