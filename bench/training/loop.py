"""The loop over training steps and checkpoints, and what becomes of each seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench.core.rng import Rng
from bench.evaluation.evaluator import checkpoint_metrics
from bench.training import stopwatch, work_counter
from bench.training.heartbeat import Heartbeat
from bench.training.schedule import Schedule, StepSchedule
from bench.training.trainer import CHECK_EVERY, Learner, Model, Trainer

Curve = Callable[[dict[str, Any]], None]
DIVERGENCE_THRESHOLD = 1e6  # nats; energies of a trained model differ by tens


@dataclass(frozen=True)
class Divergence:
    """When training left the finite numbers, or its loss the bounds of any meaningful energy."""

    step: int
    reason: str

    def __str__(self) -> str:
        return f"{self.reason} at step {self.step}"


@dataclass(frozen=True)
class BestAt:
    """A checkpoint's step, which of its weights, "last" or "ema", and their validation NLL in nats."""

    step: int
    weights: str
    valid_nll: float


@dataclass
class Outcome:
    """What training leaves behind of one seed beside the weights.

    Attributes:
        steps: how many were taken.
        divergence: when and why it diverged, or None.
        best: the weights, last or averaged, of the checkpoint with the lowest validation NLL, a certified one where
            there is one; None without a grid.
        best_at: that checkpoint's step and which weights they were.
    """

    steps: int = 0
    divergence: Divergence | None = None
    best: list[Tensor] | None = None
    best_at: BestAt | None = None
    lowest: tuple[bool, float] = (True, math.inf)

    def record_checkpoint(self, model: Model, rng: Rng) -> dict[str, Any]:
        """What a checkpoint records of both kinds of weights; the better of them are kept if none were better yet."""
        seen: dict[str, Any] = {}
        for variant, weights in (("last", model.weights), ("ema", model.average)):
            values = checkpoint_metrics(model.energy_with(weights), model.data, rng.stream("eval"))
            seen |= {f"{name}_{variant}": value for name, value in values.items()}
            nll = values.get("valid_nll")
            # mass outside the box is missing from log Z, so a model that leaks looks better than it is
            score = (not values.get("certified"), math.inf if nll is None else nll)
            if nll is not None and score < self.lowest:
                self.lowest, self.best = score, [w.detach().clone() for w in weights]
                self.best_at = BestAt(self.steps, variant, nll)
        return seen


class Resumable(Protocol):
    """What trains, as far as a checkpoint knows it: an energy's trainer, a stack's or a denoiser's."""

    energy: nn.Module
    learner: Learner
    average: list[Tensor]
    data_rng: Rng
    rng: Rng
    schedule: Schedule

    def twin(self) -> tuple[nn.Module, nn.Module]:
        """The network and the objective as they were before the first step."""

    def paced(self, steps: int) -> StepSchedule:
        """The pace of a given number of steps."""


class Keeper(Protocol):
    """Who keeps checkpoints of a run on disk, and knows of an earlier one."""

    def resume(
        self, trainer: Resumable, outcomes: Sequence[Outcome], clocks: Sequence[Any], curves: Sequence[Curve]
    ) -> int:
        """Puts everything where the newest checkpoint was taken; returns its step, 0 if there is none."""

    def due(self, t: int) -> bool:
        """Whether a checkpoint is to be written after t steps."""

    def save(self, trainer: Resumable, t: int, outcomes: Sequence[Outcome], clocks: Sequence[Any]) -> None:
        """Writes one; may end the process if it was asked to."""

    def close(self) -> None:
        """Training is over."""


def train(
    trainer: Trainer,
    work: work_counter.Work,
    clock: stopwatch.Clock,
    evaluations: Sequence[stopwatch.Stopwatch],
    curves: Sequence[Curve],
    keeper: Keeper | None = None,
    heartbeat: Heartbeat | None = None,
) -> list[Outcome]:
    """Trains to the end, or until every seed has diverged; returns what became of each seed.

    At checkpoints the clock stops, and each seed that has not diverged adds a line to its curve, on its own evaluation
    clock. A seed has diverged once its loss is not finite or beyond `DIVERGENCE_THRESHOLD` nats; no seed of a stack
    can change another's numbers.

    Args:
        keeper: writes checkpoints, off the clock, and goes on from an earlier one.
        heartbeat: is told of every stretch of steps.
    """
    outcomes = [Outcome() for _ in curves]
    t = 0 if keeper is None else keeper.resume(trainer, outcomes, [clock, *evaluations], curves)
    clock.start()
    while not (trainer.schedule.finished(t) or all(o.divergence for o in outcomes)):
        losses, due = advance(trainer, t, clock)
        t += len(losses)
        of_each = losses.reshape(len(losses), -1).unbind(1)
        if heartbeat is not None:
            heartbeat(t, trainer.schedule.share(t), of_each)
        for outcome, values in zip(outcomes, of_each, strict=True):
            if outcome.divergence is None:
                outcome.divergence = find_divergence(values, t)
                outcome.steps = t if outcome.divergence is None else outcome.divergence.step
        if keeper is not None and not due and keeper.due(t):
            clock.stop()
            keeper.save(trainer, t, outcomes, [clock, *evaluations])
            clock.start()
        if not due:
            continue
        clock.stop()
        for outcome, values, model, evaluation, curve in zip(
            outcomes, of_each, trainer.models, evaluations, curves, strict=True
        ):
            if outcome.divergence is not None:
                continue
            evaluation.start()
            line = {
                "step": t,
                "train_seconds": clock.wall,
                "forwards": work.forwards * t,
                "flops": work.flops * t,
                "loss": float(values.mean()),
            }
            curve(line | outcome.record_checkpoint(model, Rng(model.seed, "eval", trainer.device)))
            evaluation.stop()
        if keeper is not None and keeper.due(t):
            keeper.save(trainer, t, outcomes, [clock, *evaluations])
        clock.start()
    clock.stop()
    if heartbeat is not None:
        heartbeat.stop()
    if keeper is not None:
        keeper.close()
    trainer.check_data()
    return outcomes


def advance(trainer: Trainer, t: int, clock: stopwatch.Clock) -> tuple[Tensor, bool]:
    """Takes steps from t on up to the next look at their losses, and nothing in here makes a GPU wait.

    Returns:
        The losses, (n,) or (n, S), and whether a checkpoint is due.
    """
    losses: list[Tensor] = []
    due = False
    while not losses or (t % CHECK_EVERY and not due):
        losses.append(trainer.step(t))
        t += 1
        clock.lap()
        due = trainer.schedule.checkpoint_due(t)
    return torch.stack(losses), due


def find_divergence(losses: Tensor, t: int) -> Divergence | None:
    """The first of one seed's losses (n,), the last of them that of step t, which is no loss; None if all are."""
    bad = ~(losses.abs() <= DIVERGENCE_THRESHOLD)
    if not bad.any():
        return None
    step, value = t - len(losses) + int(bad.nonzero()[0, 0]) + 1, float(losses[bad][0])
    return Divergence(step, "the loss is not finite" if not math.isfinite(value) else f"the loss is {value:.3g}")
