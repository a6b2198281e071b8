"""How far a run has come: its learning rate, its checkpoints and its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from bench.common.run_spec import OptimiserSpec

FIRST_STEPS = 1000


class Schedule(Protocol):
    """What the trainer asks; t counts steps, and each method is called once a step, in this order."""

    def lr_factor(self, t: int) -> float:
        """The share of the peak learning rate in step t, counted from 0."""

    def ema_decay(self, t: int) -> float:
        """The decay of the weights' average after step t, counted from 0."""

    def checkpoint_due(self, t: int) -> bool:
        """Whether a checkpoint follows after t steps; the last step has one."""

    def finished(self, t: int) -> bool:
        """Whether t steps were all."""

    def share(self, t: int) -> float:
        """How much of the run t steps are, 0 to 1."""


class StepSchedule:
    """A given number of steps: linear warm-up, then a cosine to 0; checkpoints evenly spaced."""

    def __init__(self, steps: int, optimiser: OptimiserSpec, checkpoints: int) -> None:
        share = optimiser.warm_up_share
        self.steps, self.optimiser = steps, optimiser
        self.warm_up = min(optimiser.warm_up if share is None else round(share * steps), steps)
        self.marks = {round(steps * (k + 1) / checkpoints) for k in range(checkpoints)}

    def lr_factor(self, t: int) -> float:
        if t < self.warm_up:
            return (t + 1) / self.warm_up
        return 0.5 * (1 + math.cos(math.pi * (t - self.warm_up) / max(self.steps - self.warm_up, 1)))

    def ema_decay(self, t: int) -> float:
        return _decay(self.optimiser, self.steps)

    def checkpoint_due(self, t: int) -> bool:
        return t in self.marks

    def finished(self, t: int) -> bool:
        return t >= self.steps

    def share(self, t: int) -> float:
        return t / max(self.steps, 1)


def _decay(optimiser: OptimiserSpec, steps: float) -> float:
    """The decay whose memory, 1/(1 - decay) steps, is the share of a run of `steps`; else the one that is given."""
    share = optimiser.ema_share
    return optimiser.ema if share is None else max(0.0, 1 - 1 / max(share * steps, 1.0))


class TimeSchedule:
    """As many steps as there is time for: linear warm-up, under a cosine of the share of the time that is gone.

    Args:
        seconds: the budget.
        elapsed: seconds of training so far.
        every: steps between two looks at the clock.
    """

    def __init__(
        self, seconds: float, optimiser: OptimiserSpec, checkpoints: int, elapsed: Callable[[], float], every: int = 1
    ) -> None:
        self.seconds, self.optimiser, self.checkpoints = seconds, optimiser, checkpoints
        self.elapsed, self.every = elapsed, every
        self.progress, self.reached = 0.0, 0

    def lr_factor(self, t: int) -> float:
        share = self.optimiser.warm_up_share
        if share is None:
            risen = (t + 1) / max(self.optimiser.warm_up, 1)
        else:
            # the clock has not moved in the first step
            risen = (self.progress + self.seconds_a_step(t) / self.seconds) / share if share else 1.0
        return min(risen, 0.5 * (1 + math.cos(math.pi * self.progress)))

    def seconds_a_step(self, t: int) -> float:
        """The mean of the steps so far; before there is one, as many as fit `FIRST_STEPS` times into the budget."""
        return self.progress * self.seconds / t if t and self.progress else self.seconds / FIRST_STEPS

    def ema_decay(self, t: int) -> float:
        return _decay(self.optimiser, self.seconds / self.seconds_a_step(t))

    def checkpoint_due(self, t: int) -> bool:
        if t % self.every == 0:
            # never backwards: an estimate of a stretch can be corrected at its end
            self.progress = max(self.progress, min(1.0, self.elapsed() / self.seconds))
        reached, self.reached = self.reached, math.floor(self.progress * self.checkpoints)
        return self.reached > reached

    def finished(self, t: int) -> bool:
        return self.progress >= 1

    def share(self, t: int) -> float:
        return self.progress
