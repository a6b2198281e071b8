"""Derivatives of an energy with respect to its input, and sums over events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.core.rng import Rng

Energy = Callable[..., Tensor]
"""E: (*batch, *event) -> (*batch,); low energy means likely.

A noise-conditional one is called energy(x, sigma), with sigma a standard deviation for each example, (*batch,).
"""

CLOSED_FORMS = ("closed_form_score", "energy_and_score", "score_and_hessian_product", "score_and_laplacian")
"""What an energy may offer of its own, in place of which autograd serves."""


def sum_event(t: Tensor, rng: Rng) -> Tensor:
    """Σ over every dimension that is not batch: (*batch, *event) -> (*batch,)."""
    return t.flatten(rng.batch_ndim).sum(-1)


def per_example(values: Tensor, x: Tensor) -> Tensor:
    """(*batch,) reshaped to (*batch, 1, ..., 1), so that it broadcasts against x of shape (*batch, *event)."""
    return values.reshape(values.shape + (1,) * (x.ndim - values.ndim))


def as_tensor_like(value: float | Tensor, like: Tensor) -> Tensor:
    """A number or a tensor in the type and the place of another tensor.

    A number is made there: sending it from the host would make a GPU wait.
    """
    return value.to(like) if isinstance(value, Tensor) else like.new_full((), value)


def _checked(energies: Tensor, x: Tensor) -> Tensor:
    if energies.ndim >= x.ndim or energies.shape != x.shape[: energies.ndim]:
        raise ValueError(
            f"energy must return one value per example, a leading part of the input's shape {tuple(x.shape)}; "
            f"got {tuple(energies.shape)}; squeeze or flatten the network's last dimension"
        )
    return energies


def offering(energy: Energy, own: Callable[..., tuple[Tensor, Tensor]]) -> Energy:
    """The energy, with `own` as its `energy_and_score`: (x, ...) -> (E, -∇E)."""

    offered = without_closed_forms(energy)
    offered.energy_and_score = own  # type: ignore[attr-defined]
    return offered


def conditioned(energy: Energy, sigma: Tensor | Callable[[Tensor], Tensor]) -> Energy:
    """x -> E(x, σ): a noise-conditional energy at given noise levels, with the derivatives of its own that it offers.

    Args:
        energy: energy(x, sigma) with sigma (*batch,).
        sigma: the levels, (*batch,), or what gives them for x.
    """
    level = sigma if callable(sigma) else lambda x: sigma

    def at_level(x: Tensor) -> Tensor:
        return energy(x, level(x))

    def bound(own: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *direction: own(x, *direction, level(x))

    for name in CLOSED_FORMS:
        if hasattr(energy, name):
            setattr(at_level, name, bound(getattr(energy, name)))
    return at_level


def rescaled(energy: Energy, *, argument: float = 1.0, value: float = 1.0) -> Energy:
    """x -> b E(ax), a = `argument`, b = `value`, with energy and score in closed form where E offers them."""

    def scaled(x: Tensor) -> Tensor:
        return value * energy(argument * x)

    own = getattr(energy, "energy_and_score", None)
    if own is None:
        return scaled

    def energy_and_score(x: Tensor) -> tuple[Tensor, Tensor]:
        energies, found = own(argument * x)
        return value * energies, argument * value * found

    return offering(scaled, energy_and_score)


def without_closed_forms(energy: Energy) -> Energy:
    """The same energy without the derivatives of its own: what asks for them gets autograd's."""

    def plain(x: Tensor, *condition: Tensor) -> Tensor:
        return energy(x, *condition)

    return plain


def energy_and_score(energy: Energy, x: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """(E(x), -∇ₓE(x)) from one forward pass; x is detached first, shapes (*batch,) and (*batch, *event).

    By the energy's own `energy_and_score(x)` if it has one, else by autograd.

    Raises:
        ValueError: if the energy does not return one value per example.
    """
    own = getattr(energy, "energy_and_score", None)
    if own is not None:
        with torch.set_grad_enabled(create_graph):
            energies, found = own(x.detach())
        return _checked(energies, x), found
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        energies = _checked(energy(x), x)
        (gradient,) = torch.autograd.grad(energies.sum(), x, create_graph=create_graph)
    return energies if create_graph else energies.detach(), -gradient


def score(energy: Energy, x: Tensor, *, create_graph: bool = False) -> Tensor:
    """s(x) = -∇ₓE(x), shape (*batch, *event); x is detached first.

    By the energy's own `closed_form_score(x)` if it has one.

    Args:
        create_graph: keep the graph, so that the score can be differentiated by the energy's parameters.

    Raises:
        ValueError: if the energy does not return one value per example.
    """
    own = getattr(energy, "closed_form_score", None)
    if own is None:
        return energy_and_score(energy, x, create_graph=create_graph)[1]
    with torch.set_grad_enabled(create_graph):
        found: Tensor = own(x.detach())
    return found


def hessian_product(energy: Energy, x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """(s(x), ∇²E(x) v), both (*batch, *event), with their graph; x is detached first.

    By the energy's own `score_and_hessian_product(x, v)` if it has one, else by autograd. Since ∇s = -∇²E, the sliced
    quantity vᵀ∇s v is -vᵀ(∇²E v), an unbiased estimate of -ΔE when E[vvᵀ] = I.
    """
    own = getattr(energy, "score_and_hessian_product", None)
    if own is not None:
        with torch.enable_grad():
            found: tuple[Tensor, Tensor] = own(x.detach(), direction)
        return found
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(_checked(energy(x), x).sum(), x, create_graph=True)
        (product,) = torch.autograd.grad((gradient * direction).sum(), x, create_graph=True)
    return -gradient, product


def laplacian(energy: Energy, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """(s(x), ΔE(x)) with their graph, shapes (*batch, *event) and (*batch,); exact; x is detached first.

    By the energy's own `score_and_laplacian(x)` if it has one, else by autograd, with one backward pass a dimension.
    """
    own = getattr(energy, "score_and_laplacian", None)
    if own is not None:
        with torch.enable_grad():
            found: tuple[Tensor, Tensor] = own(x.detach())
        return found
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(_checked(energy(x), x).sum(), x, create_graph=True)
        flat = gradient.flatten(rng.batch_ndim)
        rows = [torch.autograd.grad(flat[..., i].sum(), x, create_graph=True)[0] for i in range(flat.shape[-1])]
        diagonal = [row.flatten(rng.batch_ndim)[..., i] for i, row in enumerate(rows)]
    return -gradient, torch.stack(diagonal).sum(0)
