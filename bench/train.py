"""One run: train an energy by one objective, evaluate it off the clock. The only optimiser code."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bench import arithmetic, load, meter
from bench.calculus import Energy
from bench.declare import Data
from bench.errors import UsageError
from bench.evaluate import glance
from bench.pace import Pace, Seconds, Steps
from bench.quadrature import freeze
from bench.rng import Rng
from bench.spec import RunSpec
from bench.trained import Trained

Curve = Callable[[dict[str, Any]], None]
CHECK_EVERY = 50  # steps between two looks at the loss, which make a GPU wait
GATHERED = 2**20  # numbers of training data gathered at once, at most
UNBOUNDED = 1e6  # nats; energies of a trained model differ by tens


@dataclass(frozen=True)
class Divergence:
    """When training left the finite numbers, or its loss the bounds of any meaningful energy."""

    step: int
    reason: str

    def __str__(self) -> str:
        return f"{self.reason} at step {self.step}"


@dataclass
class Learner:
    """An energy, its objective and the optimiser of both."""

    energy: nn.Module
    objective: load.Objective
    settings: dict[str, Any]
    precision: str = arithmetic.FULL

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
        with arithmetic.products(self.precision):
            loss: Tensor = self.objective(arithmetic.passes(energy, self.precision), x, rng).mean(-1)
            self.optimiser.zero_grad()
            # only what is trained: a plain backward would also fill the gradients of the scores' inputs
            loss.sum().backward(inputs=self.trained)
        if self.settings["clip"] is not None:
            _clip_each_seed(self.trained, self.settings["clip"], batch_ndim=rng.batch_ndim)
        self.optimiser.step()
        return loss.detach()


def fold(average: list[Tensor], weights: list[Tensor], t: int, ema: float) -> None:
    """Takes the weights after step t, counted from 0, into their exponential moving average.

    Its decay grows as (1 + t) / (10 + t) up to `ema`, so that the initial weights are forgotten.
    """
    torch._foreach_lerp_(average, weights, 1 - min(ema, (1 + t) / (10 + t)))


@dataclass
class Model:
    """What one seed has learned, as if it had been alone.

    Attributes:
        data: its data set.
        network: a network that its weights fit.
        objective: what it was trained by, in a stack that of all seeds.
        weights, average: its last weights and their moving average; views, which follow the training.
    """

    spec: RunSpec
    seed: int
    data: Data
    network: nn.Module
    objective: load.Objective
    weights: list[Tensor]
    average: list[Tensor]

    def energy_with(self, weights: list[Tensor]) -> Trained:
        """The energy under given weights; a noise-conditional one at the objective's smallest noise level."""
        network = copy.deepcopy(self.network).requires_grad_(False)
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(weight)
        conditional = self.spec.network["conditional"]
        return Trained(network, levels=self._levels(), conditional=conditional, noise=self.data.noise)

    def _levels(self) -> tuple[float, float] | None:
        """The noise levels at which the objective says that its energy is that of the smoothed data."""
        hyper, info = self.objective.hyper, self.objective.info
        if hyper.get("kernel") == "vp":
            return None  # its levels are of data that shrink
        if info.energy == "noise":
            low, high = float(hyper["sigma_min"]), float(hyper.get("sigma_max", hyper["sigma_min"]))
            # of K intervals between geometric levels, each trains the energy of its lower end
            return low, high * (low / high) ** (1 / hyper["levels"]) if "levels" in hyper else high
        if info.minimiser == "smoothed" and "sigma" in hyper:
            return float(hyper["sigma"]), float(hyper["sigma"])
        return None


class Trainer:
    """All of a run that changes as it trains, for one seed or for a stack of seeds.

    Adam with linear warm-up and cosine decay. Beside the weights runs their exponential moving average.
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
        self.energy = self._network(seed, self.data.train)
        objective = load.objective(
            spec.objective["ref"],
            self.data.train,
            self.rng,
            local_scale=self.data.local_scale,
            **spec.objective["params"],
        ).to(device)
        self.learner = Learner(self.energy, objective, spec.optimiser, spec.precision)
        self.weights: list[Tensor] = list(self.energy.parameters())
        self.average = [w.detach().clone() for w in self.weights]
        self._detached = [w.detach() for w in self.weights]  # views, made once
        self.pace: Pace = self.paced(int(spec.budget["steps"]))
        self._batches = self._draw_batches()

    def _network(self, seed: int | list[int], x_train: Tensor) -> nn.Module:
        rng, about = Rng(seed, "init"), self.spec.network
        event = tuple(x_train.shape[rng.batch_ndim :])
        network = load.network(
            about["ref"], event, rng, conditional=about["conditional"], x_train=x_train.cpu(), **about["params"]
        )
        return network.to(self.device)

    def paced(self, steps: int) -> Steps:
        """The pace of a given number of steps."""
        return Steps(steps, self.spec.optimiser["warm_up"], self.spec.evaluation["checkpoints"])

    def timed(self, seconds: float, clock: meter.Stopwatch) -> Seconds:
        """The pace of a given number of seconds on the training clock; a GPU is not made to wait after each step."""
        every = CHECK_EVERY if self.device.type == "cuda" else 1
        optimiser, checkpoints = self.spec.optimiser, self.spec.evaluation["checkpoints"]
        return Seconds(seconds, optimiser["warm_up"], checkpoints, lambda: clock.seconds, every)

    @cached_property
    def models(self) -> list[Model]:
        """What each seed has learned."""
        if isinstance(self.seed, int):
            objective = self.learner.objective
            return [Model(self.spec, self.seed, self.data, self.energy, objective, self.weights, self.average)]
        data, split = self.data, ("train", "valid", "test")
        return [
            Model(
                self.spec,
                seed,
                replace(data, **{name: getattr(data, name)[k] for name in split}),
                self._network(seed, data.train[k]),
                self.learner.objective,
                [w[k] for w in self._detached],
                [w[k] for w in self.average],
            )
            for k, seed in enumerate(self.seed)
        ]

    def batch(self) -> Tensor:
        """The next training batch, drawn with replacement; the same for every objective at a seed."""
        return next(self._batches)

    def _draw_batches(self) -> Iterator[Tensor]:
        train, size, axis = self.data.train, self.spec.budget["batch"], self.rng.batch_ndim - 1
        event = train.shape[self.rng.batch_ndim :].numel()
        at_once = size * min(CHECK_EVERY, max(1, GATHERED // (size * event)))
        while True:
            # many batches at once: one draw, one transfer to the device, and few gathers
            drawn = self.data_rng.integers(train.shape[axis], self.data_rng.batch_shape(CHECK_EVERY * size))
            for index in drawn.to(self.device).split(at_once, -1):
                if axis == 0:
                    yield from train[index].split(size)
                else:
                    yield from torch.stack([x[i] for x, i in zip(train, index, strict=True)]).split(size, 1)

    def step(self, t: int) -> Tensor:
        """Training step t, counted from 0; returns the mean loss, () or (S,)."""
        loss = self.learner.update(self.energy, self.batch(), self.rng, self.pace.factor(t))
        fold(self.average, self._detached, t, self.spec.optimiser["ema"])
        return loss

    def count(self) -> meter.Work:
        """The work of one step in float32, counted on copies: weights, chains and random streams stay as they are."""
        learner = Learner(*copy.deepcopy((self.energy, self.learner.objective)), self.spec.optimiser)
        rng = Rng(self.seed, "count", self.device)
        x = self.data.train.narrow(rng.batch_ndim - 1, 0, self.spec.budget["batch"])

        def rehearse(calls: list[meter.Call]) -> None:
            learner.update(meter.tapped(learner.energy, calls, rng.batch_ndim), x, rng)

        return meter.count(rehearse, batch=x.shape[: rng.batch_ndim].numel())


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
    best_at: dict[str, Any] = field(default_factory=dict)
    lowest: tuple[bool, float] = (True, math.inf)

    def look(self, model: Model, rng: Rng) -> dict[str, Any]:
        """What a checkpoint records of both kinds of weights; the better of them are kept if none were better yet."""
        seen: dict[str, Any] = {}
        for variant, weights in (("last", model.weights), ("ema", model.average)):
            values = glance(model.energy_with(weights), model.data, rng.stream("eval"))
            seen |= {f"{name}_{variant}": value for name, value in values.items()}
            nll = values.get("valid_nll")
            # mass outside the box is missing from log Z, so a model that leaks looks better than it is
            score = (not values.get("certified"), math.inf if nll is None else nll)
            if nll is not None and score < self.lowest:
                self.lowest, self.best = score, [w.detach().clone() for w in weights]
                self.best_at = {"step": self.steps, "weights": variant, "valid_nll": nll}
        return seen


def train(
    trainer: Trainer,
    work: meter.Work,
    clock: meter.Clock,
    evaluations: Sequence[meter.Stopwatch],
    curves: Sequence[Curve],
) -> list[Outcome]:
    """Trains to the end, or until every seed has diverged; returns what became of each seed.

    At checkpoints the clock stops, and each seed that has not diverged adds a line to its curve, on its own evaluation
    clock. A seed has diverged once its loss is not finite or beyond `UNBOUNDED` nats; no seed of a stack can change
    another's numbers.
    """
    outcomes = [Outcome() for _ in curves]
    t = 0
    clock.start()
    while not (trainer.pace.over(t) or all(o.divergence for o in outcomes)):
        losses, due = advance(trainer, t, clock)
        t += len(losses)
        of_each = losses.reshape(len(losses), -1).unbind(1)
        for outcome, values in zip(outcomes, of_each, strict=True):
            if outcome.divergence is None:
                outcome.divergence = divergence(values, t)
                outcome.steps = t if outcome.divergence is None else outcome.divergence.step
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
            curve(line | outcome.look(model, Rng(model.seed, "eval", trainer.device)))
            evaluation.stop()
        clock.start()
    clock.stop()
    return outcomes


def advance(trainer: Trainer, t: int, clock: meter.Clock) -> tuple[Tensor, bool]:
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
        due = trainer.pace.due(t)
    return torch.stack(losses), due


def divergence(losses: Tensor, t: int) -> Divergence | None:
    """The first of one seed's losses (n,), the last of them that of step t, which is no loss; None if all are."""
    bad = ~(losses.abs() <= UNBOUNDED)
    if not bad.any():
        return None
    step, value = t - len(losses) + int(bad.nonzero()[0, 0]) + 1, float(losses[bad][0])
    return Divergence(step, "the loss is not finite" if not math.isfinite(value) else f"the loss is {value:.3g}")


def _clip_each_seed(parameters: list[Tensor], limit: float, *, batch_ndim: int) -> None:
    """Scales each seed's gradient to a norm of at most `limit`; a stack's parameters begin with S."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.flatten(batch_ndim - 1).square().sum(-1) for g in gradients]).sum(0).sqrt()
    scale = (limit / (norm + 1e-12)).clamp(max=1.0)
    for g in gradients:
        g.mul_(scale.reshape(scale.shape + (1,) * (g.ndim - scale.ndim)))
