"""Recovery likelihood along a diffusion, with the chains and the weights that were released."""

from typing import Annotated

from torch import Tensor

from bench.api import Energy, Integer, Log, Rng, langevin, noise_interval, objective, per_example, tethered


@objective(
    family="diffusion contrastive divergence",
    divergence="anchored diffusion contrastive",
    bias={"steps": -1},
    energy="noise",
    minimiser="smoothed",
    source="Gao et al. 2021, Learning energy-based models by diffusion recovery likelihood, arXiv 2012.08125",
    note="The same objective as time_dependent_diffusion_contrastive_divergence: here chains are unadjusted Langevin "
    "with a step in units of the noise, and levels are weighted by 1/sigma. Evaluated at sigma_min.",
    proof={"levels": 2, "steps": 300, "step": 0.2, "sigma_min": 0.5},
)
def diffusion_recovery_likelihood(
    energy: Energy,
    x: Tensor,
    rng: Rng,
    *,
    sigma_min: Annotated[float, Log(1e-3, 1.0)] = 0.05,
    sigma_max: Annotated[float, Log(0.1, 100.0)] = 2.0,
    levels: Annotated[int, Integer(1, 1000)] = 6,
    steps: Annotated[int, Integer(1, 1000)] = 30,
    step: Annotated[float, Log(1e-3, 1.0)] = 0.2,
) -> Tensor:
    r"""(σ₀/σₖ) [E(xₖ, σₖ) - E(x', σₖ)], x' = sg(`steps` transitions x <- x + (b²s²/2) ∇log q(x|y) + bs ε from y).

    E_y KL(p(xₖ|y) ‖ q(xₖ|y)) at level k, y = xₖ + sε', s² = σₖ₊₁² - σₖ², q(x|y) ∝ exp(-E(x, σₖ) - ‖x - y‖²/2s²). The
    released models have 6 levels, 30 steps and b = .01 to .02 on images, where s is about 1 a pixel; in the plane a
    step may be as long as b = .2 before the discretisation shows. Thirty such steps do not forget y: the negatives keep
    a burn-in bias, which falls as the chains grow.

    Args:
        energy: noise-conditional, energy(x, sigma) with sigma (*batch,).
        x: data (*batch, *event).
        sigma_min, sigma_max: the ends of the geometric noise levels, in units of x.
        levels: the number of intervals.
        steps: transitions of a chain.
        step: b, a transition's noise in units of the interval's s.

    Returns:
        The loss of each example, (*batch,), in nats.
    """
    here = noise_interval(x, rng, sigma_min=sigma_min, sigma_max=sigma_max, levels=levels)
    x_k = x + per_example(here.sigma, x) * rng.normal_like(x)
    y = x_k + per_example(here.gap, x) * rng.normal_like(x)

    def level(u: Tensor) -> Tensor:
        return energy(u, here.sigma)

    posterior = tethered(level, y, rng, sigma=here.gap)
    negatives = langevin(posterior, y, rng, steps=steps, step_size=(step * here.gap).square())
    return sigma_min / here.sigma * (level(x_k) - level(negatives))
