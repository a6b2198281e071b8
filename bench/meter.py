"""The only code that measures: network passes, FLOPs, seconds and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench import samplers
from bench.calculus import Energy


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


def tapped(energy: Energy, calls: list[Call], batch_ndim: int) -> Energy:
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

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.work.aten_ops += 1
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.work.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def count(step: Callable[[list[Call]], None], batch: int, repeats: int = 2) -> Work:
    """The mean work of `step` on `batch` examples.

    Args:
        step: is run `repeats` times; puts each call of the network into the list that it is given.
        batch: examples in a training batch, of all seeds in a stack.
    """
    work, calls = Work(), list[Call]()
    before = samplers.Counter.steps
    with OperationCounter(work):
        for _ in range(repeats):
            step(calls)
    work.sampler_steps = samplers.Counter.steps - before
    work.forwards = sum(call.rows for call in calls) / batch
    work.input_gradients = sum(call.rows * call.input_gradients for call in calls) / batch
    work.double_backwards = sum(call.rows * call.double_backwards for call in calls) / batch
    return Work(**work.scaled(1 / repeats))


class Clock(Protocol):
    """Seconds of training so far: on the wall, of the processor, and between CUDA events, None on a CPU."""

    wall: float
    cpu: float

    @property
    def cuda(self) -> float | None: ...

    def start(self) -> None: ...

    def lap(self) -> None:
        """Ends a step."""

    def stop(self) -> None: ...


class Stopwatch:
    """Accumulates wall-clock and CPU seconds of the stretches between `start` and `stop`, CUDA events on a GPU.

    Attributes:
        laps: wall-clock seconds between two calls of `lap`, or from `start` to the first.
    """

    def __init__(self, device: torch.device) -> None:
        self.wall = 0.0
        self.cpu = 0.0
        self.laps: list[float] = []
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._cuda = device.type == "cuda"
        self._began: tuple[float, float] | None = None

    def start(self) -> None:
        if self._cuda:
            self._events.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
            self._events[-1][0].record()
        self._began = (time.perf_counter(), time.process_time())
        self._tick = self._began[0]

    def lap(self) -> None:
        now = time.perf_counter()
        self.laps.append(now - self._tick)
        self._tick = now

    def stop(self) -> None:
        if self._began is None:
            return
        if self._cuda:
            self._events[-1][1].record()
            # outside a step: without it the wall clock would measure launches
            torch.cuda.synchronize()
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]
        self._began = None

    @property
    def seconds(self) -> float:
        """Seconds of what computes, also while it runs: of the processor, or between CUDA events, which waits for them.

        A busy machine lengthens the wall clock's seconds, but hardly these.
        """
        if self.cuda is None:
            return self.cpu + (0.0 if self._began is None else time.process_time() - self._began[1])
        if self._began is not None:
            self.stop()
            self.start()
        return self.cuda

    @property
    def cuda(self) -> float | None:
        """Seconds between CUDA events, or None on a CPU."""
        return sum(a.elapsed_time(b) for a, b in self._events) / 1000 if self._cuda else None


def step_milliseconds(steps: list[float], warm_up: int = 10) -> dict[str, float | int | None]:
    """Median and interquartile range of step times in ms, the first `warm_up` of them left out."""
    kept = torch.tensor(steps[warm_up:], dtype=torch.float64) * 1000
    if not len(kept):
        return {"median": None, "iqr": None, "n": 0, "warm_up": warm_up}
    low, median, high = kept.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    return {"median": median, "iqr": high - low, "n": len(kept), "warm_up": warm_up}


def cuda_memory(device: torch.device) -> dict[str, int]:
    """The CUDA allocator's peaks in bytes, since the process began; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "cuda_allocated_peak": torch.cuda.max_memory_allocated(),
        "cuda_reserved_peak": torch.cuda.max_memory_reserved(),
    }
