"""Maximum likelihood by persistent chains whose weights make up for what they lag behind."""

from typing import Annotated

from torch import Tensor, nn

from bench.api import Energy, Integer, Linear, Rng, StepSize, WeightedChains, objective


@objective(
    label="Jarzynski",
    family="contrastive divergence",
    divergence="maximum likelihood",
    bias={"chains": -1},
    source="Carbone et al. 2023, Efficient training of energy-based models using Jarzynski equality, arXiv 2305.19414",
    note="Chains need not converge: weights correct for it, and their mean estimates Z. The bias is that of a ratio of "
    "means over finitely many chains.",
    proof={"chains": 1024, "witnesses": 2},  # as many witnesses as by default would only take time
)
class JarzynskiPersistentChains(nn.Module):
    r"""E(x) - Σᵢ wᵢ E(Xᵢ), w = softmax(A), A += E(X) - E'(Y) + log k'(X|Y) - log k(Y|X) for each step X -> Y.

    k(Y|X) = N(Y; X + (ε/2) s(X), εI) is a Langevin transition, a prime means the parameters at the next call. By
    Jarzynski's equality weighted means over the walkers X are those of q, in the limit of many, with no error from the
    step or from parameters that move faster than chains; the mean of e^A is Z. All walkers move in every call.

    That needs parameters that do not depend on the walkers. Trained ones do: each update lifts the energy just where
    the walkers stand, and their weights lose a little more than q does, of the order of the learning rate over the
    number of walkers. It cancels in w, but adds up in the mean of e^A. So log Z is read from `witnesses`, walkers of
    the same kind that no gradient sees.

    Args:
        x_train: training data (n, *event), or (S, n, *event), for the Gaussian in which walkers begin.
        chains: the walkers of the gradient.
        witnesses: the walkers of log Z.
        steps: transitions a call.
        step_size: ε of x <- x + (ε/2) s(x) + √ε z; given in units of local_scale².
        resample: where the effective sample size falls below this share, walkers are drawn anew by their weights.

    Shape:
        x (*batch, *event) -> loss (*batch,), in nats. `log_z` is (1,), or (S, 1) for a stack.
    """

    def __init__(
        self,
        x_train: Tensor,
        rng: Rng,
        *,
        chains: Annotated[int, Integer(2, 100_000)] = 4096,
        witnesses: Annotated[int, Integer(2, 100_000)] = 4096,
        steps: Annotated[int, Integer(1, 200)] = 1,
        step_size: Annotated[float, StepSize(1e-3, 1.0)] = 0.4,
        resample: Annotated[float, Linear(0.0, 1.0)] = 0.5,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.chains, self.witnesses = (
            WeightedChains(x_train, rng, walkers=count, step_size=step_size, resample=resample)
            for count in (chains, witnesses)
        )

    @property
    def log_z(self) -> Tensor:
        """Log of the witnesses' mean weight."""
        return self.witnesses.log_z

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        self.witnesses.advance(energy, rng, steps=self.steps)
        negatives, weights = self.chains.advance(energy, rng, steps=self.steps)
        return energy(x) - (weights * energy(negatives)).sum(-1, keepdim=True)
