"""What `check` holds an energy network to."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.common.errors import UsageError
from bench.common.run_spec import Conditional
from bench.contract.rule import Rule, agree, other_global_seed, require
from bench.core.declarations import PLAIN
from bench.core.rng import Rng
from bench.plugins import builders, registry

SHAPES = ((2,), (3,), (1,), (1, 8, 8), (1, 28, 28), (1, 32, 32), (3, 32, 32), (3, 64, 64))


def _event(plugin: registry.Plugin) -> tuple[int, ...]:
    """A shape of examples that the network takes; of a plain module, the first of the usual ones that fits."""
    if not plugin.info.plain:
        return (1, 8, 8) if plugin.info.event == "image" else (3,)
    reasons = []
    for shape in SHAPES:
        try:
            plugin.target(shape, Rng(0, "init"))
        except UsageError as error:
            reasons.append(error)
        else:
            return shape
    raise reasons[0]


def _network_stack(plugin: registry.Plugin, ref: str) -> str:
    if plugin.info.plain:
        return PLAIN
    event = _event(plugin)
    kinds: tuple[Conditional, ...] = (False, True, "axes") if plugin.info.axes else (False, True)
    for conditional in kinds:
        x = Rng([0, 1]).normal((2, 5, *event), torch.float64)
        stack = builders.network(ref, event, Rng([4, 2], "init"), conditional=conditional, x_train=x).double()
        shape = x.shape if conditional == "axes" else x.shape[:2]
        condition = [torch.full(shape, 0.3, dtype=torch.float64)] if conditional else []
        energies = stack(x, *condition)
        require(energies.shape == (2, 5), f"energies have shape {tuple(energies.shape)}, not (2, 5)")
        for i, seed in enumerate((4, 2)):
            alone = builders.network(ref, event, Rng(seed, "init"), conditional=conditional, x_train=x[i]).double()
            require(
                agree(energies[i], alone(x[i], *(c[i] for c in condition)), 1e-10),
                f"the energies of seed {seed} differ between a stack and a network of its own",
            )
    return "seed by seed, static and conditional"


def _network_gradient(plugin: registry.Plugin, ref: str) -> str:
    event = _event(plugin)
    network = builders.network(ref, event, Rng(0, "init"))
    x = Rng(0).normal((5, *event)).requires_grad_()
    (slope,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    require(bool(slope.isfinite().all()) and bool(slope.any()), "the score is zero or not finite")
    seen = [p.grad for p in network.parameters() if p.grad is not None]
    require(bool(seen) and all(bool(g.isfinite().all()) for g in seen), "the score's gradient is not finite")
    return f"the score and its gradient by the weights are finite, at examples of shape {event}"


def _network_condition(plugin: registry.Plugin, ref: str) -> str:
    if plugin.info.plain:
        return PLAIN
    event = _event(plugin)
    network = builders.network(ref, event, Rng(0, "init"), conditional=True)
    x = Rng(0).normal((5, *event))
    low, high = (network(x, torch.full((5,), sigma)) for sigma in (0.1, 1.0))
    require(bool(low.isfinite().all()) and not torch.equal(low, high), "sigma makes no difference to the energy")
    if not plugin.info.axes:
        return "energy(x, sigma) depends on sigma"
    by_axis = builders.network(ref, event, Rng(0, "init"), conditional="axes")
    first = torch.zeros_like(x).flatten(1)
    first[:, 0] = 1
    levels = [0.1 + 0.9 * part.reshape(x.shape) for part in (first, 1 - first)]
    require(not torch.equal(*(by_axis(x, sigma) for sigma in levels)), "it makes no difference whose level sigma is")
    one, same = (by_axis(x, sigma) for sigma in (torch.full((5,), 0.3), torch.full_like(x, 0.3)))
    require(agree(one, same, 1e-5), "one level on all coordinates gives another energy than that level an example")
    return "energy(x, sigma) depends on sigma, and on that of each coordinate"


def _network_private(plugin: registry.Plugin, ref: str) -> str:
    def weights() -> list[Tensor]:
        return list(builders.network(ref, _event(plugin), Rng(0, "init")).parameters())

    a, b = (other_global_seed(k, weights) for k in range(2))
    require(all(torch.equal(p, q) for p, q in zip(a, b, strict=True)), "the global seed decides initial weights")
    return "rng alone decides the initial weights"


RULES: dict[str, Rule] = {
    "gradient": _network_gradient,
    "conditional": _network_condition,
    "stack equals solo": _network_stack,
    "private randomness": _network_private,
}
