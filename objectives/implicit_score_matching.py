"""Score matching with the exact Laplacian."""

from torch import Tensor

from bench.api import Energy, Rng, laplacian, objective, sum_event


@objective(
    label="ISM",
    family="score matching",
    divergence="Fisher",
    source="Hyvärinen 2005, Estimation of non-normalized statistical models by score matching",
    note="Blind to the weights of separate modes; a backward pass for every dimension.",
)
def implicit_score_matching(energy: Energy, x: Tensor, rng: Rng) -> Tensor:
    r"""½‖∇E(x)‖² - ΔE(x).

    Equals ½‖s(x) - ∇log p(x)‖² in expectation, less ½E‖∇log p‖² which no parameter enters. Stationary at q = p, and at
    any other law whose score is right wherever data lie.

    Args:
        x: data (*batch, *event).

    Returns:
        The loss of each example, (*batch,), in nats per squared unit of x.
    """
    s, trace = laplacian(energy, x, rng)
    return 0.5 * sum_event(s.square(), rng) - trace
