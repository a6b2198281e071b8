"""An objective ready for use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.core.declarations import ObjectiveInfo
from bench.core.derivatives import Energy
from bench.core.rng import Rng
from bench.core.search_spaces import in_units_of_data
from bench.plugins.registry import Plugin


class Objective(nn.Module):
    """An objective ready for use: (energy, x, rng) -> loss of batch shape.

    Attributes:
        info: the declaration (family, energy kind, minimiser, control, source, ...).
        hyper: the hyper-parameters as given: a step size in units of `local_scale` squared, a length in `local_scale`.
        values: what its code is called with: the same in units of x.
        local_scale: the scale that was used, or None if no hyper-parameter needs one.
    """

    def __init__(
        self,
        plugin: Plugin,
        hyper: dict[str, Any],
        local_scale: float | None,
        x_train: Tensor,
        rng: Rng,
    ) -> None:
        super().__init__()
        self.info: ObjectiveInfo = plugin.info
        self.hyper = hyper
        self.local_scale = local_scale
        self.values = in_units_of_data(plugin.parameters, hyper, local_scale or 1.0)
        self.loss: Callable[..., Tensor] = (
            plugin.target(x_train, rng, **self.values) if plugin.has_memory else partial(plugin.target, **self.values)
        )
        self._log_z_shape = rng.batch_shape(1)
        # what a module needs of them it has kept
        self._sampler_hyper = {} if plugin.has_memory else self.values

    def forward(self, energy: Energy, x: Tensor, rng: Rng) -> Tensor:
        """The loss of each example, (*batch,).

        Raises:
            ValueError: if the plug-in or the energy returns another shape.
        """
        loss = self.loss(energy, x, rng)
        batch = x.shape[: rng.batch_ndim]
        if loss.shape != batch:
            raise ValueError(
                f"{self.info.name} must return one loss per example, shape {tuple(batch)}; got {tuple(loss.shape)}; "
                "return it unreduced, and let the energy return one value per example (end a network with squeeze(-1))"
            )
        return loss

    @property
    def log_z(self) -> Tensor | None:
        """Its own estimate of log ∫ exp(-E) under the last weights, in nats, (1,), or (S, 1) for a stack.

        None, unless it is a module with a parameter, buffer or property `log_z`, which it changes in place.

        Raises:
            ValueError: if that has another shape.
        """
        found = getattr(self.loss, "log_z", None)
        if found is None:
            return None
        if found.shape != self._log_z_shape:
            raise ValueError(
                f"log_z of {self.info.name} must have the shape {self._log_z_shape}, one number a seed; got "
                f"{tuple(found.shape)}; make it x_train.new_zeros(rng.batch_shape(1))"
            )
        return cast(Tensor, found.detach())

    @torch.no_grad()
    def sample(self, energy: Energy, x_like: Tensor, rng: Rng) -> Tensor | None:
        """Draws of the objective's own sampler, shaped as x_like and detached; None if it declares none.

        Args:
            energy: as in training: energy(x, sigma) where the objective is of a noise-conditional one.
            x_like: (*batch, *event); only its shape, dtype and device count.

        Raises:
            ValueError: if the sampler returns another shape.
        """
        if self.info.sampler is None:
            return None
        memory = [self.loss] if isinstance(self.loss, nn.Module) else []
        draws = self.info.sampler(*memory, energy, x_like, rng, **self._sampler_hyper)
        if draws.shape != x_like.shape:
            raise ValueError(
                f"the sampler of {self.info.name} must return draws of shape {tuple(x_like.shape)}; got "
                f"{tuple(draws.shape)}"
            )
        return draws.detach()

    def param_groups(self) -> list[dict[str, Any]]:
        """What the optimiser must train beside the energy; an adversary's group says `maximize=True`."""
        own = getattr(self.loss, "param_groups", None)
        if own is not None:
            return cast(list[dict[str, Any]], own())
        own_parameters = list(self.parameters())
        return [{"params": own_parameters}] if own_parameters else []
