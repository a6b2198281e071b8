"""Score matching with the Laplacian sliced along random signs."""

from torch import Tensor

from bench.api import Energy, Rng, hessian_product, objective, sum_event


@objective(
    label="SSM",
    family="score matching",
    divergence="Fisher",
    source="Song et al. 2019, Sliced score matching",
    note="Variance-reduced: only the Laplacian is sliced. Blind to the weights of separate modes.",
)
def sliced_score_matching(energy: Energy, x: Tensor, rng: Rng) -> Tensor:
    r"""½‖∇E(x)‖² - vᵀ∇²E(x)v, v ∈ {-1, 1}ᵈ with equal odds.

    E[vvᵀ] = I, so vᵀ∇²E v estimates the whole trace ΔE without bias and without a factor of d: the expected loss is
    that of implicit score matching. The squared score is taken exactly (SSM-VR), as its slice ½(vᵀ∇E)² would only
    add noise; signs have the smallest variance of all v with independent entries.

    Args:
        x: data (*batch, *event).

    Returns:
        The loss of each example, (*batch,), in nats per squared unit of x.
    """
    v = rng.rademacher_like(x)
    s, product = hessian_product(energy, x, v)
    return 0.5 * sum_event(s.square(), rng) - sum_event(v * product, rng)
