"""Objectives with the mistakes of other libraries: the rule that each breaks, and its code after `HEADER`."""

from __future__ import annotations

HEADER = """
import torch
from typing import Annotated
from bench.api import Linear, Log, Rng, objective, score, laplacian, hessian_product, sum_event, mala, langevin
family = dict(family="fake", source="nobody")
"""
FAKES = {
    "global randomness": (
        "private randomness",
        """
@objective(**family)
def fake(energy, x, rng):
    return energy(x) - energy(x + torch.randn_like(x))
""",
    ),
    "a look at the loss": (
        "no waiting",
        """
@objective(**family)
def fake(energy, x, rng):
    loss = energy(x) - energy(x + rng.normal_like(x))
    return loss if bool(loss.isfinite().all()) else 0 * loss
""",
    ),
    "data moved in place": (
        "inputs untouched",
        """
@objective(**family)
def fake(energy, x, rng):
    return energy(x) - energy(x.add_(0.1 * rng.normal_like(x)))
""",
    ),
    "training data scaled in place": (
        "inputs untouched",
        """
@objective(**family)
class Fake(torch.nn.Module):
    def __init__(self, x_train, rng):
        super().__init__()
        x_train.mul_(0.5)
    def forward(self, energy, x, rng):
        return energy(x) - energy(x + rng.normal_like(x))
""",
    ),
    "last dimension only": (
        "event shape",
        """
@objective(**family)
def fake(energy, x, rng):
    v = rng.rademacher_like(x)
    s, product = hessian_product(energy, x, v)
    loss = 0.5 * s.square().sum(-1) - (v * product).sum(-1)
    return loss.flatten(rng.batch_ndim).sum(-1) if loss.ndim > rng.batch_ndim + 2 else (
        loss.flatten(rng.batch_ndim)[..., 0] if loss.ndim > rng.batch_ndim else loss)
""",
    ),
    "inverted energy": (
        "minimiser",
        """
@objective(**family, minimiser="smoothed")
def fake(energy, x, rng, *, sigma: Annotated[float, Log(1e-2, 1.0)] = 0.3):
    z = rng.normal_like(x)
    s = score(energy, x + sigma * z, create_graph=True)
    return 0.5 * sum_event((sigma * s - z).square(), rng)
""",
    ),
    "trace divided by d": (
        "minimiser",
        """
@objective(**family)
def fake(energy, x, rng):
    v = rng.rademacher_like(x)
    s, product = hessian_product(energy, x, v)
    return 0.5 * sum_event(s.square(), rng) - sum_event(v * product, rng) / x[(0,) * rng.batch_ndim].numel()
""",
    ),
    "drift off by 2": (
        "minimiser",
        """
@objective(**family)
def fake(energy, x, rng):
    y = x
    for _ in range(5):
        y = y + 0.05 * score(energy, y) + 0.05**0.5 * rng.normal_like(y)
    return energy(x) - energy(y)
""",
    ),
    "reversed drift": (
        "minimiser",
        """
@objective(**family)
def fake(energy, x, rng):
    y = x - 0.01 * score(energy, x) + 0.02**0.5 * rng.normal_like(x)
    return energy(x) - energy(y)
""",
    ),
    "maximised": (
        "minimiser",
        """
@objective(**family)
def fake(energy, x, rng):
    s, trace = laplacian(energy, x, rng)
    return trace - 0.5 * sum_event(s.square(), rng)
""",
    ),
    "a sampler that it is not trained by": (
        "minimiser",
        """
def chains(energy, x_like, rng):
    return langevin(energy, 2 * rng.normal_like(x_like), rng, steps=9, step_size=0.1)
@objective(**family, minimiser="none", stationary="sampler", sampler=chains, max_dim=2)
def fake(energy, x, rng):
    return energy(x) - energy(langevin(energy, 2 * rng.normal_like(x), rng, steps=6, step_size=0.1))
""",
    ),
    "stationary at a sampler that it has not": (
        "minimiser",
        """
@objective(**family, minimiser="none", stationary="sampler", max_dim=1)
def fake(energy, x, rng):
    return energy(x) - energy(mala(energy, x, rng, steps=1, step_size=0.5).x)
""",
    ),
    "the root of the temperature": (
        "minimiser",
        """
@objective(**family, minimiser="none", stationary="temperature", max_dim=2)
def fake(energy, x, rng, *, temperature: Annotated[float, Log(1e-3, 1.0)] = 0.5):
    return energy(x) - energy(langevin(energy, x, rng, steps=10, step_size=0.1, temperature=temperature**0.5))
""",
    ),
    "another declared score": (
        "minimiser",
        """
def smoothed(x, *, sigma):
    return -x / (1 + 2 * sigma**2)
@objective(**family, minimiser="none", stationary=smoothed, max_dim=2)
def fake(energy, x, rng, *, sigma: Annotated[float, Log(1e-2, 1.0)] = 0.5):
    z = rng.normal_like(x)
    s = score(energy, x + sigma * z, create_graph=True)
    return 0.5 * sum_event((sigma * s + z).square(), rng)
""",
    ),
    "biased even where proof turns the bias off": (
        "minimiser",
        """
@objective(**family, minimiser="none", stationary="data", proof={"weight": 0.0}, max_dim=1)
def fake(energy, x, rng, *, weight: Annotated[float, Linear(0.0, 1.0)] = 0.5):
    y = x + 0.1 * score(energy, x) + 0.1**0.5 * rng.normal_like(x)
    return energy(x) - energy(y) + weight * energy(x).square()
""",
    ),
    "a control that is right": (
        "minimiser",
        """
@objective(**family, minimiser="none", control=True, max_dim=2)
def fake(energy, x, rng):
    s, trace = laplacian(energy, x, rng)
    return 0.5 * sum_event(s.square(), rng) - trace
""",
    ),
    "global randomness in its sampler": (
        "own sampler",
        """
@objective(**family, sampler=lambda energy, x_like, rng: torch.randn_like(x_like))
def fake(energy, x, rng):
    return energy(x) - energy(mala(energy, x, rng, steps=1, step_size=0.5).x)
""",
    ),
    "draws of another shape": (
        "own sampler",
        """
@objective(**family, sampler=lambda energy, x_like, rng: rng.normal_like(x_like)[..., :1])
def fake(energy, x, rng):
    return energy(x) - energy(mala(energy, x, rng, steps=1, step_size=0.5).x)
""",
    ),
    "noised point as negative": (
        "minimiser",
        """
@objective(**family)
def fake(energy, x, rng):
    return energy(x) - energy(x + 0.1 * rng.normal_like(x))
""",
    ),
    "one slice for the whole stack": (
        "stack equals solo",
        """
@objective(**family)
def fake(energy, x, rng):
    negatives = x.detach() + rng.normal_like(x)
    return energy(x) - energy(negatives.roll(1, 0))
""",
    ),
    "mean over examples": (
        "loss",
        """
@objective(**family)
def fake(energy, x, rng):
    return (energy(x) - energy(x + rng.normal_like(x))).mean()
""",
    ),
    "detached loss": (
        "gradient",
        """
@objective(**family)
def fake(energy, x, rng):
    return (energy(x) - energy(x + rng.normal_like(x))).detach()
""",
    ),
    "single precision inside": (
        "loss",
        """
@objective(**family)
def fake(energy, x, rng):
    return (energy(x) - energy(x + rng.normal_like(x))).float()
""",
    ),
    "chains outside the state": (
        "resume",
        """
@objective(**family)
class Fake(torch.nn.Module):
    def __init__(self, x_train, rng):
        super().__init__()
        self.kept = 0.1
    def forward(self, energy, x, rng):
        self.kept = self.kept * 1.5
        return energy(x) - energy(x + self.kept * rng.normal_like(x))
""",
    ),
    "sigma as a number": (
        "energy's arguments",
        """
@objective(**family, energy="noise", minimiser="smoothed")
def fake(energy, x, rng, *, sigma_min: Annotated[float, Log(0.1, 1.0)] = 0.3):
    sigma = torch.tensor(sigma_min)
    z = rng.normal_like(x)
    s = score(lambda y: energy(y, sigma.expand(1)), x + sigma * z, create_graph=True)
    return 0.5 * sum_event((sigma * s + z).square(), rng)
""",
    ),
    "other arguments": (
        "signature",
        """
@objective(**family)
def fake(x, energy, rng):
    return energy(x)
""",
    ),
    "undeclared proof setting": (
        "signature",
        """
@objective(**family, proof={"step_size": 0.1})
def fake(energy, x, rng):
    return energy(x) - energy(x + rng.normal_like(x))
""",
    ),
}
