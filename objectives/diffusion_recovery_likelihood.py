"""Recovery likelihood along a diffusion, with the kind of chain and the weights that were released."""

from typing import Annotated, Any

from torch import Tensor

from bench.api import (
    Choice,
    Energy,
    Integer,
    Linear,
    Log,
    NoiseInterval,
    Rng,
    Sigma,
    conditioned,
    langevin,
    largest_level,
    noise_interval,
    noised_twice,
    objective,
    posterior_energy,
    shared_noise,
)


def _recover(
    energy: Energy, y: Tensor, here: NoiseInterval, rng: Rng, steps: int, step: float, noise: list[Tensor] | None = None
) -> Tensor:
    """x' ~ q(x'|y) at the interval's lower level."""
    posterior = posterior_energy(conditioned(energy, here.sigma), y, rng, sigma=here.gap)
    return langevin(posterior, y, rng, steps=steps, step_size=(step * here.gap).square(), noise=noise)


def _level_by_level(
    energy: Energy, x_like: Tensor, rng: Rng, *, levels: int, steps: int, step: float, **options: Any
) -> Tensor:
    """From the highest trained level down to σ_min by the chains of training."""
    ends = {name: options[name] for name in ("sigma_min", "sigma_max")}
    intervals = [noise_interval(x_like, rng, levels=levels, k=k, **ends) for k in range(levels)]
    x = largest_level(energy, x_like, rng, sigma=float(intervals[-1].sigma.flatten()[0]))
    for here in reversed(intervals[:-1]):
        x = _recover(energy, x, here, rng, steps, step)
    return x


@objective(
    label="DRL",
    family="diffusion contrastive divergence",
    divergence="anchored diffusion contrastive",
    bias={"steps": -1},
    energy="noise",
    levels="intervals",
    minimiser="smoothed",
    source="Gao et al. 2021, Learning energy-based models by diffusion recovery likelihood, arXiv 2012.08125",
    note="The same objective as time_dependent_diffusion_contrastive_divergence: here chains are unadjusted Langevin "
    "with a step in units of the noise, and levels are weighted by 1/sigma. Evaluated at sigma_min.",
    proof={"levels": 2, "steps": 1000, "step": 0.1, "sigma_min": 0.5},
    sampler=_level_by_level,
)
def diffusion_recovery_likelihood(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Sigma(1e-3, 100.0)] = 0.5,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 2.0,
    levels: Annotated[int, Integer(1, 1000)] = 6,
    steps: Annotated[int, Integer(1, 1000)] = 20,
    step: Annotated[float, Log(1e-3, 1.0)] = 0.2,
    weight: Annotated[float, Linear(-2.0, 2.0)] = 1.0,
    noise: Annotated[str, Choice("own", "shared")] = "own",
) -> Tensor:
    r"""(σ₀/σₖ)^w [E(xₖ, σₖ) - E(x', σₖ)], x' = sg(`steps` transitions x <- x + (b²s²/2) ∇log q(x|y) + bs ε from y).

    E_y KL(p(xₖ|y) ‖ q(xₖ|y)) at level k, y = xₖ + sε', s² = σₖ₊₁² - σₖ², q(x|y) ∝ exp(-E(x, σₖ) - ‖x - y‖²/2s²). The
    released models have 6 levels, 30 steps and b = .01 to .02 on images, where s is about 1 a pixel; in the plane a
    step may be as long as b = .2 before the discretisation shows. Twenty such steps do not forget y: the negatives keep
    a burn-in bias, which falls as the chains grow.

    Args:
        energy: noise-conditional, energy(x, sigma) of data x (*batch, *event) and noise levels sigma (*batch,).
        sigma_min, sigma_max, levels: the ends of the levels, in units of local_scale and of x; so many intervals.
        steps: transitions of a chain.
        step: b, a transition's noise in units of the interval's s.
        weight: w; 1 suits energies that change as fast at every level, 0 preconditioned ones (slopes ∝ 1/σ).
        noise: "own" draws the chain's noise afresh; "shared" has it add up to the innovation of xₖ given y, as in
            time_dependent_diffusion_contrastive_divergence_coupled: the same expected gradient with less variance.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    here = noise_interval(x, rng, sigma_min=sigma_min, sigma_max=sigma_max, levels=levels)
    x_k, y, eta = noised_twice(x, here, rng)
    # in one direction across the data a transition forgets this share of its distance from the mean
    share = 0.5 * step**2 * (sigma_max / sigma_min) ** (2 / levels)
    weights = [(1 - share) ** (steps - k) for k in range(1, steps + 1)]
    shared = shared_noise(eta, weights, rng) if noise == "shared" else None
    negatives = _recover(energy, y, here, rng, steps, step, shared)
    return (sigma_min / here.sigma) ** weight * (energy(x_k, here.sigma) - energy(negatives, here.sigma))
