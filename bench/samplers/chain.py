"""What all chains share: their result, the count of transitions, step sizes a chain and a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from bench.core.derivatives import as_tensor_like, per_example
from bench.core.rng import Rng

StepSize = float | Tensor
Schedule = StepSize | Sequence[StepSize]


class Chain(NamedTuple):
    """Where the chains ended, (*batch, *event), and the mean acceptance rate of each, (*batch,)."""

    x: Tensor
    acceptance: Tensor


class Counter:
    """How many transitions all chains of this process have made; read by the meter, reset by nobody."""

    steps = 0


def transitions(steps: int) -> Iterator[int]:
    """0 to steps - 1; each is counted as a transition of all chains."""
    for k in range(steps):
        Counter.steps += 1
        yield k


def expand_step_size(step_size: StepSize, x: Tensor, rng: Rng) -> Tensor:
    """ε as a tensor that broadcasts against x; a tensor given by the caller has batch shape (or is a scalar)."""
    return per_example(as_tensor_like(step_size, x).expand(x.shape[: rng.batch_ndim]), x)


def step_sizes(step_size: Schedule, x: Tensor, rng: Rng) -> list[Tensor]:
    """ε of the first transitions, as `expand_step_size` gives it; the last goes on."""
    return [
        expand_step_size(epsilon, x, rng) for epsilon in (step_size if isinstance(step_size, Sequence) else [step_size])
    ]
