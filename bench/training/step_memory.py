"""The memory of a training step, counted tensor by tensor: a bound from below of what a GPU must have free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

COPIES = 5  # of each trained number: itself, its gradient, Adam's two moments, its moving average


class _Held:
    """A tensor that backward will read, for as long as it may."""

    def __init__(self, tensor: Tensor, forget: Callable[[Tensor], None]) -> None:
        self.tensor, self.forget = tensor, forget

    def __del__(self) -> None:
        self.forget(self.tensor)


def saved_bytes(step: Callable[[], object]) -> int:
    """The most bytes that a step keeps at once for its backward passes; a storage that several tensors share is one."""
    times: Counter[int] = Counter()
    now = most = 0

    def keep(tensor: Tensor) -> _Held:
        nonlocal now, most
        storage = tensor.untyped_storage()
        if not times[storage.data_ptr()]:
            now += storage.nbytes()
            most = max(most, now)
        times[storage.data_ptr()] += 1
        return _Held(tensor, forget)

    def forget(tensor: Tensor) -> None:
        nonlocal now
        storage = tensor.untyped_storage()
        times[storage.data_ptr()] -= 1
        if not times[storage.data_ptr()]:
            now -= storage.nbytes()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor):
        step()
    return most


def step_bytes(step: Callable[[], object], *modules: nn.Module) -> int:
    """What a step keeps for backward, and all copies of what modules train; not the workspace of single operations.

    Weights are among what backward reads, so they are counted twice: that is on the safe side, and little.
    """
    trained = sum(p.numel() * p.element_size() for module in modules for p in module.parameters())
    return saved_bytes(step) + COPIES * trained
