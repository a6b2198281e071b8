"""What a training step costs: interleaved rounds in one process, in CPU seconds and in units that travel.

The unit is "×fb": one forward and backward pass of the same network over the same batch, timed in the same rounds, so
that a busy or a slower machine moves both.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

WARM_UP = 3
ROUND_SECONDS = 0.01  # long enough that the clock's grain does not matter, short enough that rounds interleave


@dataclass(frozen=True)
class Setting:
    """One point of the grid that is measured: which network on which events, and how many examples a step."""

    network: str
    batch: int
    dim: int


class Subject:
    """Something that is timed: one call does one step's work."""

    def __init__(self, name: str, call: Callable[[], object], device: torch.device) -> None:
        self.name, self.call, self.device = name, call, device
        self.repeats = 1
        self.seconds: list[float] = []

    def prepare(self) -> None:
        """Warms up, then finds how many calls fill a round."""
        for _ in range(WARM_UP):
            self.call()
        self.repeats = max(1, round(ROUND_SECONDS / max(self.measure(), 1e-6)))

    def measure(self) -> float:
        """Seconds of one call: process CPU time, or between CUDA events on a GPU."""
        if self.device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for _ in range(self.repeats):
                self.call()
            end.record()
            torch.cuda.synchronize()
            return begin.elapsed_time(end) / 1000 / self.repeats
        began = time.process_time()
        for _ in range(self.repeats):
            self.call()
        return (time.process_time() - began) / self.repeats


def interleave(subjects: Sequence[Subject], rounds: int, seed: int = 0) -> None:
    """Times every subject once a round, in an order that changes from round to round."""
    order = random.Random(seed)
    for subject in subjects:
        subject.prepare()
    for _ in range(rounds):
        for subject in order.sample(list(subjects), len(subjects)):
            subject.seconds.append(subject.measure())
