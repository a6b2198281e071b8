"""The work of a training step, counted: network passes, Markov transitions, FLOPs, operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.core.derivatives import Energy
from bench.samplers import chain


@dataclass
class Work:
    """What one training step computes; passes are in units of one pass of the network over one training batch.

    Attributes:
        forwards: forward passes.
        input_gradients: backward passes down to the network's input.
        double_backwards: backward passes through the graph of an input gradient.
        sampler_steps: Markov transitions of the whole batch of chains.
        flops: multiplications and additions of matrix products and convolutions, forward and backward; pointwise
            work counts as zero here, so `aten_ops` stands beside it.
        aten_ops: operations dispatched.
    """

    forwards: float = 0.0
    input_gradients: float = 0.0
    double_backwards: float = 0.0
    sampler_steps: float = 0.0
    flops: float = 0.0
    aten_ops: float = 0.0

    def scaled(self, factor: float) -> dict[str, float]:
        """Every count times `factor`."""
        return {name: value * factor for name, value in asdict(self).items()}


@dataclass
class Call:
    """One call of the network: how many examples, and how often gradients came back through its input."""

    rows: int
    input_gradients: int = 0
    double_backwards: int = 0


class _InputTap(torch.autograd.Function):
    """The identity at a network's input; a gradient that comes back through it is counted."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call) -> Tensor:
        ctx.call = call
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.call.input_gradients += 1
        return _GradientTap.apply(gradients[0], ctx.call), None


class _GradientTap(torch.autograd.Function):
    """The identity on an input gradient; a gradient of it that comes back is counted."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, call: Call) -> Tensor:
        ctx.call = call
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.call.double_backwards += 1
        return gradients[0], None


def count_calls(energy: Energy, calls: list[Call], batch_ndim: int) -> Energy:
    """The same energy, each call of which is added to `calls`."""

    def counted(x: Tensor, *condition: Tensor) -> Tensor:
        calls.append(Call(x.shape[:batch_ndim].numel()))
        tap: Tensor = _InputTap.apply(x, calls[-1])
        return energy(tap, *condition)

    return counted


class OperationCounter(TorchDispatchMode):
    """Adds the FLOPs and the number of the operations inside it to `work`.

    torch's own FlopCounterMode raises when a gradient is taken to a leaf input, which is what every score does; its
    public registry of formulas serves here without its module hooks.
    """

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and skipping would load torch's compiler, a second of every run

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.work.aten_ops += 1
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.work.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def count_work(step: Callable[[list[Call]], None], batch: int, repeats: int = 2) -> Work:
    """The mean work of `step` on `batch` examples.

    Args:
        step: is run `repeats` times; puts each call of the network into the list that it is given.
        batch: examples in a training batch, of all seeds in a stack.
    """
    work, calls = Work(), list[Call]()
    before = chain.Counter.steps
    with OperationCounter(work):
        for _ in range(repeats):
            step(calls)
    work.sampler_steps = chain.Counter.steps - before
    work.forwards = sum(call.rows for call in calls) / batch
    work.input_gradients = sum(call.rows * call.input_gradients for call in calls) / batch
    work.double_backwards = sum(call.rows * call.double_backwards for call in calls) / batch
    return Work(**work.scaled(1 / repeats))
