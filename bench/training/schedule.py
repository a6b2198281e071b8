"""How far a run has come: its learning rate, its checkpoints and its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol


class Schedule(Protocol):
    """What the trainer asks; t counts steps, and each method is called once a step, in this order."""

    def lr_factor(self, t: int) -> float:
        """The share of the peak learning rate in step t, counted from 0."""

    def checkpoint_due(self, t: int) -> bool:
        """Whether a checkpoint follows after t steps; the last step has one."""

    def finished(self, t: int) -> bool:
        """Whether t steps were all."""


class StepSchedule:
    """A given number of steps: linear warm-up, then a cosine to 0; checkpoints evenly spaced."""

    def __init__(self, steps: int, warm_up: int, checkpoints: int) -> None:
        self.steps, self.warm_up = steps, min(warm_up, steps)
        self.marks = {round(steps * (k + 1) / checkpoints) for k in range(checkpoints)}

    def lr_factor(self, t: int) -> float:
        if t < self.warm_up:
            return (t + 1) / self.warm_up
        return 0.5 * (1 + math.cos(math.pi * (t - self.warm_up) / max(self.steps - self.warm_up, 1)))

    def checkpoint_due(self, t: int) -> bool:
        return t in self.marks

    def finished(self, t: int) -> bool:
        return t >= self.steps


class TimeSchedule:
    """As many steps as there is time for: linear warm-up, under a cosine of the share of the time that is gone.

    Args:
        seconds: the budget.
        elapsed: seconds of training so far.
        every: steps between two looks at the clock.
    """

    def __init__(
        self, seconds: float, warm_up: int, checkpoints: int, elapsed: Callable[[], float], every: int = 1
    ) -> None:
        self.seconds, self.warm_up, self.checkpoints = seconds, warm_up, checkpoints
        self.elapsed, self.every = elapsed, every
        self.progress, self._reached = 0.0, 0

    def lr_factor(self, t: int) -> float:
        return min((t + 1) / self.warm_up, 0.5 * (1 + math.cos(math.pi * self.progress)))

    def checkpoint_due(self, t: int) -> bool:
        if t % self.every == 0:
            self.progress = min(1.0, self.elapsed() / self.seconds)
        reached, self._reached = self._reached, math.floor(self.progress * self.checkpoints)
        return self._reached > reached

    def finished(self, t: int) -> bool:
        return self.progress >= 1
