"""The search of one objective on one data set: which trials come next, and which of them go on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import PartialFixedSampler, TPESampler
from optuna.trial import Trial, TrialState

from bench.common.run_spec import RunSpec, Value
from bench.suites.schema import TuningBudget
from bench.tuning.spaces import LEARNING_RATE

SAMPLER = "TPE (Optuna's TPESampler, seed 0)"
PRUNER = "successive halving, synchronous"
Params = dict[str, Value]


@dataclass(frozen=True)
class Candidate:
    """One trial: a learning rate and hyper-parameters, and what they were worth.

    Attributes:
        trial: Optuna's own.
        params: every hyper-parameter of the objective; those that are not searched at their defaults.
        default: whether it is the suite's own setting.
        values: the criterion by rung, the mean over the tuning seeds; infinite where a seed failed.
    """

    trial: Trial
    rate: float
    params: Params
    default: bool
    values: tuple[float, ...] = ()


class CellStudy:
    """Generations of trials; the trials of one share their hyper-parameters and differ in the learning rate.

    So they train as one stack. The first holds the default. Of each generation the best go on from a rung to the next,
    as many in every study; the default always does, so that what is chosen was compared with it at the full budget.
    Everything follows from the values that are told, so a search that is repeated on kept rows is the same search.

    Args:
        entry: a run of the suite with the default settings.
        searched: a distribution of each parameter that is searched, the learning rate among them.
        budget: generations, rates, rungs.
    """

    def __init__(self, entry: RunSpec, searched: Mapping[str, BaseDistribution], budget: TuningBudget) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.entry, self.searched, self.budget = entry, dict(searched), budget
        # two generations of random ones, then the model's
        self.sampler = TPESampler(seed=0, n_startup_trials=2 * budget.rates)
        self.study = optuna.create_study(direction="minimize", sampler=self.sampler)
        self.candidates: list[Candidate] = []

    def next_generation(self) -> list[Candidate]:
        """Trials that share their hyper-parameters; those of the first generation have the defaults."""
        first = not self.candidates
        if first:
            self.study.enqueue_trial(self._default())
        lead = self.study.ask(self.searched)
        shared = {k: v for k, v in lead.params.items() if k != LEARNING_RATE}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = PartialFixedSampler(shared, self.sampler) if shared else self.sampler
        others = [self.study.ask(self.searched) for _ in range(self.budget.rates - 1)]
        self.study.sampler = self.sampler
        made = [self._candidate(trial, default=first and trial is lead) for trial in (lead, *others)]
        self.candidates += made
        return made

    def tell(self, generation: Sequence[Candidate], values: Sequence[float]) -> list[Candidate]:
        """Takes the values of a rung; returns those of the generation that go on to the next, none after the last."""
        seen = [replace(c, values=(*c.values, v)) for c, v in zip(generation, values, strict=True)]
        self._keep(seen)
        rung = len(seen[0].values) - 1
        for candidate, value in zip(seen, values, strict=True):
            candidate.trial.report(_finite(value), rung)
        if rung + 1 == len(self.budget.rungs):
            for candidate, value in zip(seen, values, strict=True):
                self.study.tell(candidate.trial, _finite(value))
            return []
        order = sorted(seen, key=lambda c: c.values[-1])
        defaults = [c for c in order if c.default]
        going = [*defaults, *[c for c in order if not c.default][: self.budget.kept]]
        for candidate in seen:
            if candidate not in going:
                self.study.tell(candidate.trial, state=TrialState.PRUNED)
        return going

    @property
    def finished(self) -> list[Candidate]:
        """Trials that had the whole budget, the best first."""
        whole = [c for c in self.candidates if len(c.values) == len(self.budget.rungs)]
        return sorted(whole, key=lambda c: (c.values[-1], not c.default))

    def runs(self, candidates: Sequence[Candidate], rung: int, seeds: Sequence[int]) -> list[RunSpec]:
        """The runs of some trials at a rung, trial by trial."""
        return [self._run(c, self.budget.rungs[rung], seed) for c in candidates for seed in seeds]

    def _run(self, candidate: Candidate, share: float, seed: int) -> RunSpec:
        return replace(
            self.entry,
            objective=replace(self.entry.objective, params=candidate.params),
            optimiser=replace(self.entry.optimiser, lr=candidate.rate),
            budget=self.entry.budget.times(share),
            seed=seed,
        )

    def _default(self) -> Params:
        params = self.entry.objective.params
        rate = self.entry.optimiser.lr
        return {name: rate if name == LEARNING_RATE else params[name] for name in self.searched}

    def _candidate(self, trial: Trial, *, default: bool) -> Candidate:
        chosen = dict(trial.params)
        rate = float(chosen.pop(LEARNING_RATE))
        return Candidate(trial, rate, {**self.entry.objective.params, **chosen}, default)

    def _keep(self, seen: Sequence[Candidate]) -> None:
        newer = {c.trial.number: c for c in seen}
        self.candidates = [newer.get(c.trial.number, c) for c in self.candidates]


def _finite(value: float) -> float:
    """Optuna takes no infinity for a value; a trial that failed is worse than any that did not."""
    return value if math.isfinite(value) else 1e12
