"""One run: train an energy by one objective, evaluate it off the clock. The only optimiser code."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench import load, meter
from bench.calculus import Energy
from bench.errors import UsageError
from bench.evaluate import glance
from bench.quadrature import freeze
from bench.rng import Rng
from bench.spec import RunSpec

Curve = Callable[[dict[str, Any]], None]
CHECK_EVERY = 50  # steps between two looks at the loss, which make a GPU wait
UNBOUNDED = 1e6  # nats; energies of a trained model differ by tens


class DivergedError(ArithmeticError):
    """Training left the finite numbers, or its loss the bounds of any meaningful energy."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"{reason} at step {step}")
        self.step = step


@dataclass
class Learner:
    """An energy, its objective and the optimiser of both."""

    energy: nn.Module
    objective: load.Objective
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        groups: list[dict[str, Any]] = [{"params": list(self.energy.parameters())}, *self.objective.param_groups()]
        for group in groups:
            group["peak_lr"] = group.setdefault("lr", self.settings["lr"])
        self.optimiser = torch.optim.Adam(groups, betas=tuple(self.settings["betas"]), fused=True)
        self.trained: list[Tensor] = [p for group in groups for p in group["params"]]

    def update(self, energy: Energy, x: Tensor, rng: Rng, factor: float = 1.0) -> Tensor:
        """One step on a batch at `factor` of the peak learning rate; returns the mean loss, () or (S,) for a stack.

        The gradient is that of the mean over examples and the sum over seeds, so that each seed takes its own step.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak_lr"] * factor
        loss: Tensor = self.objective(energy, x, rng).mean(-1)
        self.optimiser.zero_grad()
        # only what is trained: a plain backward would also fill the gradients of the scores' inputs
        loss.sum().backward(inputs=self.trained)
        if self.settings["clip"] is not None:
            _clip_each_seed(self.trained, self.settings["clip"], batch_ndim=rng.batch_ndim)
        self.optimiser.step()
        return loss.detach()


class Trainer:
    """All of a run that changes as it trains, for one seed or for a stack of seeds.

    Adam with linear warm-up and cosine decay. Beside the weights runs an exponential moving average whose decay grows
    as (1 + t) / (10 + t) up to its final value, so that the initial weights are forgotten.
    """

    def __init__(self, spec: RunSpec, seed: int | list[int], device: torch.device) -> None:
        self.spec, self.seed, self.device = spec, seed, device
        # data and initial weights are drawn on the CPU, so that every device starts from the same numbers
        self.data_rng = Rng(seed, "data")
        self.rng = Rng(seed, "objective", device)
        data = load.dataset(spec.dataset["ref"], self.data_rng, **spec.dataset["params"])
        if spec.dataset.get("content", data.content) != data.content:
            raise UsageError(
                f"a run must see the images it was planned with, {spec.dataset['content']}; {data.name} now has "
                f"{data.content}; plan it again"
            )
        self.data = freeze(data.to(device))
        self.energy = load.network(
            spec.network["ref"],
            tuple(self.data.train.shape[self.rng.batch_ndim :]),
            Rng(seed, "init"),
            conditional=spec.network["conditional"],
            x_train=data.train,
            **spec.network["params"],
        ).to(device)
        objective = load.objective(
            spec.objective["ref"],
            self.data.train,
            self.rng,
            local_scale=self.data.local_scale,
            **spec.objective["params"],
        ).to(device)
        self.learner = Learner(self.energy, objective, spec.optimiser)
        self.weights: list[Tensor] = list(self.energy.parameters())
        self.average = [w.detach().clone() for w in self.weights]
        self._detached = [w.detach() for w in self.weights]  # views, made once
        self.steps = int(spec.budget.get("steps", 0))
        self._batches: Iterator[Tensor] = iter(())

    def batch(self) -> Tensor:
        """The next training batch, drawn with replacement; the same for every objective at a seed."""
        index = next(self._batches, None)
        if index is None:
            # many batches at once: one draw and one transfer to the device
            size, axis = self.spec.budget["batch"], self.rng.batch_ndim - 1
            drawn = self.data_rng.integers(self.data.train.shape[axis], self.data_rng.batch_shape(CHECK_EVERY * size))
            self._batches = iter(drawn.to(self.device).split(size, -1))
            index = next(self._batches)
        if self.rng.batch_ndim == 1:
            return self.data.train[index]
        return torch.stack([x[i] for x, i in zip(self.data.train, index, strict=True)])

    def step(self, t: int) -> Tensor:
        """Training step t, counted from 0; returns the mean loss, () or (S,)."""
        loss = self.learner.update(self.energy, self.batch(), self.rng, self._schedule(t))
        self.average_weights(t)
        return loss

    def average_weights(self, t: int) -> None:
        """Moves the average towards the weights after step t."""
        decay = min(self.spec.optimiser["ema"], (1 + t) / (10 + t))
        torch._foreach_lerp_(self.average, self._detached, 1 - decay)

    def _schedule(self, t: int) -> float:
        warm_up: int = min(self.spec.optimiser["warm_up"], self.steps)
        if t < warm_up:
            return (t + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (t - warm_up) / max(self.steps - warm_up, 1)))

    def count(self) -> meter.Work:
        """The work of one step, counted on copies: weights, chains and random streams stay as they are."""
        learner = Learner(*copy.deepcopy((self.energy, self.learner.objective)), self.spec.optimiser)
        rng = Rng(self.seed, "count", self.device)
        x = self.data.train.narrow(rng.batch_ndim - 1, 0, self.spec.budget["batch"])

        def rehearse(calls: list[meter.Call]) -> None:
            learner.update(meter.tapped(learner.energy, calls, rng.batch_ndim), x, rng)

        return meter.count(rehearse, batch=x.shape[: rng.batch_ndim].numel())

    def energy_with(self, weights: list[Tensor]) -> Energy:
        """The energy under given weights; a noise-conditional one at the objective's smallest noise level."""
        network = copy.deepcopy(self.energy).requires_grad_(False)
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(weight)
        if not self.spec.network["conditional"]:
            return network
        sigma = float(self.spec.objective["params"]["sigma_min"])
        return lambda x: network(x, x.new_full(x.shape[: self.rng.batch_ndim], sigma))


@dataclass
class Outcome:
    """What training leaves behind beside the weights.

    Attributes:
        best: the weights, last or averaged, of the checkpoint with the lowest validation NLL, a certified one where
            there is one; None without a grid.
        best_at: that checkpoint's step and which weights they were.
        seconds: wall-clock seconds of every step.
    """

    best: list[Tensor] | None
    best_at: dict[str, Any]
    seconds: list[float]


def train(
    trainer: Trainer, work: meter.Work, clock: meter.Stopwatch, evaluation: meter.Stopwatch, curve: Curve
) -> Outcome:
    """Trains one seed to the end; at checkpoints the clock stops and a line is added to the curve.

    Raises:
        DivergedError: once the loss is not finite or beyond `UNBOUNDED` nats.
    """
    checkpoints = trainer.spec.evaluation["checkpoints"]
    marks = {round(trainer.steps * (k + 1) / checkpoints) for k in range(checkpoints)}
    outcome, lowest = Outcome(None, {}, []), (True, math.inf)
    losses: list[Tensor] = []
    clock.start()
    tick = time.perf_counter()
    for t in range(1, trainer.steps + 1):
        losses.append(trainer.step(t - 1))
        if t % CHECK_EVERY == 0 or t in marks:
            _check(losses, t)
            mean_loss = float(torch.stack(losses).mean())
            losses.clear()
        now = time.perf_counter()
        outcome.seconds.append(now - tick)
        tick = now
        if t not in marks:
            continue
        clock.stop()
        evaluation.start()
        line: dict[str, Any] = {
            "step": t,
            "train_seconds": clock.wall,
            "forwards": work.forwards * t,
            "flops": work.flops * t,
            "loss": mean_loss,
        }
        for variant, weights in (("last", trainer.weights), ("ema", trainer.average)):
            values = glance(trainer.energy_with(weights), trainer.data, Rng(trainer.seed, "eval", trainer.device))
            line |= {f"{name}_{variant}": value for name, value in values.items()}
            nll = values.get("valid_nll")
            # mass outside the box is missing from log Z, so a model that leaks looks better than it is
            score = (not values.get("certified"), math.inf if nll is None else nll)
            if nll is not None and score < lowest:
                lowest, outcome.best = score, [w.detach().clone() for w in weights]
                outcome.best_at = {"step": t, "weights": variant, "valid_nll": nll}
        curve(line)
        evaluation.stop()
        clock.start()
        tick = time.perf_counter()
    clock.stop()
    return outcome


def _check(losses: list[Tensor], t: int) -> None:
    values = torch.stack(losses)
    bad = ~(values.abs() <= UNBOUNDED)
    if bad.any():
        first = int(bad.nonzero()[0, 0])
        step, value = t - len(losses) + first + 1, float(values[bad][0])
        raise DivergedError(step, "the loss is not finite" if not math.isfinite(value) else f"the loss is {value:.3g}")


def _clip_each_seed(parameters: list[Tensor], limit: float, *, batch_ndim: int) -> None:
    """Scales each seed's gradient to a norm of at most `limit`; a stack's parameters begin with S."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.flatten(batch_ndim - 1).square().sum(-1) for g in gradients]).sum(0).sqrt()
    scale = (limit / (norm + 1e-12)).clamp(max=1.0)
    for g in gradients:
        g.mul_(scale.reshape(scale.shape + (1,) * (g.ndim - scale.ndim)))
