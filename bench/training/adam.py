"""Adam by torch's own function, without the class around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Adam (Kingma & Ba 2015) in one fused pass over each group, as `torch.optim.Adam(groups, fused=True)`, to the bit.

    That class loads torch's compiler at its first group, a second of every command that plans or runs.

    Args:
        groups: each {"params": tensors, "lr": its learning rate}, and "maximize": True of an adversary; more entries
            may be kept there.
        betas: the decays of the averages of the gradient and of its square.

    Attributes:
        param_groups: the groups; a changed "lr" holds from the next step.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: Sequence[float]) -> None:
        self.param_groups = list(groups)
        self.betas = betas
        self._moments: list[dict[str, list[Tensor]]] = []
        for group in self.param_groups:
            params: list[Tensor] = group["params"]
            self._moments.append(
                {
                    "exp_avgs": [torch.zeros_like(p) for p in params],
                    "exp_avg_sqs": [torch.zeros_like(p) for p in params],
                    "state_steps": [torch.zeros((), dtype=torch.float32, device=p.device) for p in params],
                }
            )

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step of every parameter that has a gradient."""
        for group, moments in zip(self.param_groups, self._moments, strict=True):
            lines = [line for line in zip(group["params"], *moments.values(), strict=True) if line[0].grad is not None]
            if not lines:
                continue
            params, averages, squares, steps = (list(column) for column in zip(*lines, strict=True))
            adam(
                params,
                [p.grad for p in params],
                averages,
                squares,
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=group["lr"],
                weight_decay=0.0,
                eps=1e-8,
                maximize=group.get("maximize", False),
            )

    def state_dict(self) -> dict[str, Any]:
        """The averages and the number of steps of each group's parameters."""
        return {"moments": self._moments}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes them over, in place.

        Raises:
            KeyError, ValueError, RuntimeError: if they are of other parameters.
        """
        for mine, saved in zip(self._moments, state["moments"], strict=True):
            for name, tensors in mine.items():
                for tensor, value in zip(tensors, saved[name], strict=True):
                    tensor.copy_(value)
