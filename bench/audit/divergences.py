"""The divergences that objectives descend, by quadrature in one dimension; autograd gives their gradients.

Each is (law, model, θ, hyper) -> a scalar, up to what no θ enters, on the scale of the loss that estimates it; `hyper`
holds the hyper-parameters of that loss. p is the law, q ∝ exp(-E) the model, p_σ the law noised by N(0, σ²).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from bench.audit.toy_problem import CELL, F64, NODES, Law, Model
from bench.core.noising import noise_levels

Hyper = Mapping[str, Any]
Divergence = Callable[[Law, Model, Tensor, Hyper], Tensor]
LEVEL_NODES = 24  # of Legendre's rule over ln σ
TINY = 1e-300


def gradient(name: str, law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """∇θ of the divergence of that name, (P,)."""
    at = theta.detach().clone().requires_grad_()
    return torch.autograd.grad(DIVERGENCES[name](law, model, at, hyper), at)[0]


def _grid(variance: float) -> tuple[Tensor, float]:
    """Nodes and cell of a box that holds the law noised by N(0, variance)."""
    wide = math.sqrt(1 + variance)
    return wide * NODES, wide * CELL


def _kl(law: Law, model: Model, theta: Tensor, variance: float) -> Tensor:
    x, cell = _grid(variance)
    log_p, log_q = law.log_density(x, variance), (-model(x, theta, variance)).log_softmax(-1) - math.log(cell)
    return cell * (log_p.exp() * (log_p - log_q)).sum()


def _log_kernel(y: Tensor, x: Tensor, variance: float) -> Tensor:
    """log N(y; x, variance), (y, x)."""
    return -(y[:, None] - x).square() / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)


def _contraction(law: Law, model: Model, theta: Tensor, low: float, gap: float) -> Tensor:
    """KL(p‖q) - KL(Kp‖Kq) for p, q smoothed by `low` and K the kernel that adds N(0, gap); never negative."""
    (x, _), (y, wide_cell) = _grid(low), _grid(low + gap)
    log_q = (-model(x, theta, low)).log_softmax(-1)
    log_kq = (_log_kernel(y, x, gap) + log_q).logsumexp(-1)
    log_kp = law.log_density(y, low + gap)
    return _kl(law, model, theta, low) - wide_cell * (log_kp.exp() * (log_kp - log_kq)).sum()


def _levels(hyper: Hyper, count: int) -> list[float]:
    return [float(s) for s in noise_levels(hyper["sigma_min"], hyper["sigma_max"], count, NODES)]


def _variance(sigma: float, hyper: Hyper) -> float:
    """v = (σ/α)²."""
    return sigma**2 / (1 - sigma**2) if hyper.get("kernel") == "vp" else sigma**2


def maximum_likelihood(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """KL(p_s‖q_s) at the smoothing variance s that `smoothing` names, 0 without it."""
    return _kl(law, model, theta, hyper.get("smoothing", 0.0))


def diffusion_contrastive(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """KL(p‖q) - KL(p_σ‖q_σ); over a ladder of σₖ the mean of (σ₁/σₖ) times that."""
    if "levels" not in hyper:
        return _contraction(law, model, theta, 0.0, _variance(hyper["sigma"], hyper))
    sigmas = _levels(hyper, hyper["levels"])
    terms = [sigmas[0] / s * _contraction(law, model, theta, 0.0, _variance(s, hyper)) for s in sigmas]
    return torch.stack(terms).mean()


def anchored_diffusion_contrastive(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """Mean over k of (σ₀/σₖ)ʷ [KL(pₖ‖qₖ) - KL(pₖ₊₁‖Kₖqₖ)]; w is `weight`, or 1 where there is no such choice."""
    sigmas = _levels(hyper, hyper["levels"] + 1)
    power = hyper.get("weight", 1.0)
    return torch.stack(
        [
            (sigmas[0] / low) ** power * _contraction(law, model, theta, low**2, high**2 - low**2)
            for low, high in pairwise(sigmas)
        ]
    ).mean()


def _slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """df/dx at each x, with its graph."""
    at = x.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(at).sum(), at, create_graph=True)
    return slope


def _regression(law: Law, model: Model, theta: Tensor, variance: float, *, known: float, scale: float) -> Tensor:
    """½ E_{p_v} (scale·∂E + √v-scaled ∂log p_v)²: see `smoothed_fisher`; `known` is the smoothing the model is told."""
    x, cell = _grid(variance)
    truth = _slope(lambda y: law.log_density(y, variance), x).detach()
    gap = scale * _slope(lambda y: model(y, theta, known), x) + (math.sqrt(variance) if variance else 1.0) * truth
    return 0.5 * cell * (law.log_density(x, variance).exp() * gap.square()).sum()


def fisher(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """½ E_p‖s - ∇log p‖²."""
    return _regression(law, model, theta, 0.0, known=0.0, scale=1.0)


def stein(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """E_p‖s - ∇log p‖² / 4λ: the Stein discrepancy under its best critic."""
    return fisher(law, model, theta, hyper) / (2 * float(hyper["penalty"]))


def _over_levels(hyper: Hyper, term: Callable[[float], Tensor]) -> Tensor:
    """The mean of term(σ) over ln σ ~ U(ln σ_min, ln σ_max)."""
    nodes, weights = np.polynomial.legendre.leggauss(LEVEL_NODES)
    low, high = math.log(hyper["sigma_min"]), math.log(hyper["sigma_max"])
    sigmas = np.exp(low + (high - low) * (nodes + 1) / 2)
    return torch.stack([w / 2 * term(float(s)) for w, s in zip(weights, sigmas, strict=True)]).sum()


def smoothed_fisher(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """½σ² E_{p_σ}‖s - ∇log p_σ‖², its mean over ln σ where there are many.

    Where the answer is scaled for one level, σ₀ = ratio · σ_min: ½ E‖(σ₀²/σ) s - σ∇log p_σ‖².
    """

    def at(sigma: float) -> Tensor:
        static = "ratio" in hyper
        scale = (hyper["ratio"] * hyper["sigma_min"]) ** 2 / sigma if static else sigma
        return _regression(law, model, theta, sigma**2, known=0.0 if static else sigma**2, scale=scale)

    return at(hyper["sigma"]) if "sigma" in hyper else _over_levels(hyper, at)


def dual_fisher(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """Mean over ln σ of ½ E_{p_σ}[σ²‖s - ∇log p_σ‖² + (λ/d)(∂E/∂ln σ + ∂log p_σ/∂ln σ)²]."""

    def in_level(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, sigma: float) -> Tensor:
        return _slope(lambda log_s: function(x, (2 * log_s).exp()), torch.full_like(x, math.log(sigma)))

    def at(sigma: float) -> Tensor:
        x, cell = _grid(sigma**2)
        gap = in_level(lambda y, v: model(y, theta, v), x, sigma) + in_level(law.log_density, x, sigma).detach()
        level = cell * (law.log_density(x, sigma**2).exp() * gap.square()).sum()
        space = _regression(law, model, theta, sigma**2, known=sigma**2, scale=sigma)
        return space + 0.5 * float(hyper["time_weight"]) * level

    return _over_levels(hyper, at)


def level_classification(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """Mean over k of E_{pₖ}[-log softmaxⱼ(-E(x, σⱼ))ₖ + (λ/2) σₖ²‖s - ∇log pₖ‖²]."""
    sigmas = _levels(hyper, hyper["levels"])
    terms = []
    for k, sigma in enumerate(sigmas):
        x, cell = _grid(sigma**2)
        logits = torch.stack([-model(x, theta, s**2) for s in sigmas])
        surprise = cell * (law.log_density(x, sigma**2).exp() * -logits.log_softmax(0)[k]).sum()
        score_gap = _regression(law, model, theta, sigma**2, known=sigma**2, scale=sigma)
        terms.append(surprise + float(hyper["score_weight"]) * score_gap)
    return torch.stack(terms).mean()


def noise_contrastive(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """E_p sp(-r) + ν E_n sp(r), r = -E - c - log n - log ν, n = N(mean, variance of p), at the best c."""
    p = CELL * law.log_density(NODES).exp()
    mean = (p * NODES).sum()
    spread = (p * (NODES - mean).square()).sum()
    log_n = -0.5 * ((NODES - mean).square() / spread + (2 * math.pi * spread).log())
    n, ratio = CELL * log_n.exp(), float(hyper["ratio"])
    odds = -model(NODES, theta, 0.0) - log_n - math.log(ratio)
    low, high = torch.tensor(-30.0, dtype=F64), torch.tensor(30.0, dtype=F64)
    with torch.no_grad():
        for _ in range(60):
            c = (low + high) / 2
            falling = (p * torch.sigmoid(c - odds)).sum() < ratio * (n * torch.sigmoid(odds - c)).sum()
            low, high = (c, high) if falling else (low, c)
    # at its best value the gradient through c vanishes
    return (p * softplus(c - odds)).sum() + ratio * (n * softplus(odds - c)).sum()


def _over_neighbours(law: Law, model: Model, theta: Tensor, sigma: float, term: Callable[[Tensor], Tensor]) -> Tensor:
    """E term(E(x) - E(y)), x ~ p, y ~ N(x, σ²)."""
    y, wide_cell = _grid(sigma**2)
    rise = model(NODES, theta, 0.0) - model(y, theta, 0.0)[:, None]
    joint = (_log_kernel(y, NODES, sigma**2) + law.log_density(NODES)).exp()
    return CELL * wide_cell * (joint * term(rise)).sum()


def conditional_noise_contrastive(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """2 E sp(E(x) - E(y)), x ~ p, y ~ N(x, σ²)."""
    return 2 * _over_neighbours(law, model, theta, hyper["sigma"], softplus)


def probability_flow(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """E exp(½[E(x) - E(y)]), x ~ p, y ~ N(x, σ²)."""
    return _over_neighbours(law, model, theta, hyper["sigma"], lambda rise: (0.5 * rise).exp())


def pseudo_spherical(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """-(1/γ) log E_p[e^{-γE}] + (1/(1+γ)) log ∫ e^{-(1+γ)E}; KL(p‖q) at γ = 0."""
    gamma = float(hyper["gamma"])
    if gamma == 0:
        return _kl(law, model, theta, 0.0)
    energies, log_cell = model(NODES, theta, 0.0), math.log(CELL)
    data = (law.log_density(NODES) - gamma * energies).logsumexp(0) + log_cell
    norm = (-(1 + gamma) * energies).logsumexp(0) + log_cell
    return norm / (1 + gamma) - data / gamma


def f_divergence(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """E_q f(p/q) for the f that `kind` names."""
    log_q = (-model(NODES, theta, 0.0)).log_softmax(-1) - math.log(CELL)
    log_u = law.log_density(NODES) - log_q
    u = log_u.exp()
    f = {
        "kullback_leibler": u * log_u,
        "reverse_kullback_leibler": -log_u,
        "pearson": (u - 1).square(),
        "jensen_shannon": u * log_u - (1 + u) * ((1 + u) / 2).log(),
        "squared_hellinger": (u.sqrt() - 1).square(),
    }[str(hyper["kind"])]
    return CELL * (log_q.exp() * f).sum()


def _contrastive(law: Law, model: Model, theta: Tensor, hyper: Hyper, *, metropolis: bool) -> Tensor:
    step = hyper["step_size"]
    energies = model(NODES, theta, 0.0)
    mean = NODES - 0.5 * step * _slope(lambda x: model(x, theta, 0.0), NODES)
    log_move = -(NODES[:, None] - mean).square() / (2 * step) - 0.5 * math.log(2 * math.pi * step)
    move = CELL * log_move.exp()
    if metropolis:
        accept = (energies - energies[:, None] + log_move.T - log_move).clamp(max=0).exp()
        move = move * accept
        move = move + torch.diag(1 - move.sum(0))
    before = law.log_density(NODES).exp()
    after = before
    for _ in range(hyper["steps"]):
        after = move @ after
    return CELL * (before * energies - after * (energies + after.clamp(min=TINY).log())).sum()


def contrastive(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """KL(p‖q) - KL(Πᵏp‖q), Π one unadjusted Langevin transition; its gradient has nothing dropped."""
    return _contrastive(law, model, theta, hyper, metropolis=False)


def metropolis_contrastive(law: Law, model: Model, theta: Tensor, hyper: Hyper) -> Tensor:
    """KL(p‖q) - KL(Πᵏp‖q), Π one Metropolis-adjusted Langevin transition."""
    return _contrastive(law, model, theta, hyper, metropolis=True)


DIVERGENCES: dict[str, Divergence] = {
    "maximum likelihood": maximum_likelihood,
    "diffusion contrastive": diffusion_contrastive,
    "anchored diffusion contrastive": anchored_diffusion_contrastive,
    "Fisher": fisher,
    "Stein": stein,
    "smoothed Fisher": smoothed_fisher,
    "dual Fisher": dual_fisher,
    "level classification": level_classification,
    "noise contrastive": noise_contrastive,
    "conditional noise contrastive": conditional_noise_contrastive,
    "probability flow": probability_flow,
    "pseudo-spherical": pseudo_spherical,
    "f-divergence": f_divergence,
    "contrastive": contrastive,
    "metropolis contrastive": metropolis_contrastive,
}
