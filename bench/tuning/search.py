"""`tune`: every objective of a suite on every data set, the same number of trials and the same compute for each."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import optuna

from bench.common import fingerprint
from bench.common.errors import UsageError
from bench.common.references import parse_seeds, split_reference
from bench.common.run_spec import ACROSS, RunSpec, Weights
from bench.plugins import registry
from bench.results.leaderboard import PRIMARY
from bench.suites.schema import TuningBudget
from bench.suites.tuned import Tuned, defaults_of, network_in_words, tuned_for
from bench.tuning.spaces import at_edge, distributions, in_words
from bench.tuning.study import PRUNER, SAMPLER, CellStudy

Row = Mapping[str, Any]
Execute = Callable[[Sequence[RunSpec]], Sequence[Row]]
EVALUATED: Weights = "ema"


def tune(entries: Sequence[RunSpec], budget: TuningBudget, execute: Execute) -> list[Tuned]:
    """Searches for every entry; each generation of all of them is one call of `execute`, so that cores share it.

    Args:
        entries: one run a cell, with the suite's own settings; what is no objective or a reference fit is left out.
        execute: runs specs and returns their rows in order, kept ones as they are.

    Raises:
        UsageError: if nothing is left to tune.
    """
    cells = tunable(entries)
    if not cells:
        raise UsageError("nothing to tune: no objective of the suite goes with one of its data sets")
    studies = [_study(_evaluated_on_validation(spec), budget) for spec in cells]
    seeds = parse_seeds(budget.seeds)
    spent = dict.fromkeys(range(len(studies)), 0.0)
    for _ in range(budget.generations):
        going = [study.next_generation() for study in studies]
        for rung in range(len(budget.rungs)):
            specs = [spec for study, some in zip(studies, going, strict=True) for spec in study.runs(some, rung, seeds)]
            rows = iter(execute(specs))
            for k, (study, some) in enumerate(zip(studies, going, strict=True)):
                own = [[next(rows) for _ in seeds] for _ in some]
                spent[k] += sum(_flops(row) for each in own for row in each)
                going[k] = study.tell(some, [_criterion(each, study.entry) for each in own])
    return [_outcome(study, spent[k]) for k, study in enumerate(studies)]


def tunable(entries: Sequence[RunSpec]) -> list[RunSpec]:
    """Those that a search can improve: no denoisers, no reference fits, nothing that cannot run."""
    return [spec for spec in entries if not (spec.skip or spec.classical or spec.reference_fit)]


def work(budget: TuningBudget) -> tuple[int, float]:
    """How many runs the search of one entry makes, and how many of its whole budgets they take together."""
    seeds, trials = len(parse_seeds(budget.seeds)), budget.generations * budget.rates
    first, *later = budget.rungs
    # the default goes on beside the best of its generation
    going = 1 + min(budget.kept, budget.rates - 1) + (budget.generations - 1) * min(budget.kept, budget.rates)
    return seeds * (trials + going * len(later)), seeds * (trials * first + going * sum(later))


def _study(entry: RunSpec, budget: TuningBudget) -> CellStudy:
    parameters = registry.find("objectives", entry.objective.ref).parameters
    given = split_reference(entry.objective.label)[1]
    free = {name: each for name, each in parameters.items() if name not in given}
    return CellStudy(entry, distributions(free, entry.optimiser.lr), budget)


def _evaluated_on_validation(spec: RunSpec) -> RunSpec:
    """A run of the search: judged by one criterion, of the averaged weights, on validation data."""
    metric, _, part = criterion_of(spec).partition(".")
    reference = next(ref for ref in spec.evaluation.metrics if split_reference(ref)[0] == metric)
    evaluation = replace(
        spec.evaluation,
        checkpoints=1,
        variants=(EVALUATED,),
        split="valid",
        samplers=tuple(each for each in spec.evaluation.samplers if each == part) or spec.evaluation.samplers,
        metrics={reference: fingerprint.code(registry.find("metrics", reference).path)},
    )
    return replace(spec, suite=f"{spec.suite}-tuning", evaluation=evaluation, batch_seeds=True)


def criterion_of(spec: RunSpec) -> str:
    """The validation negative log-likelihood where the suite has it, else what the entry is judged by.

    That is the metric of the suite's questions about it, first of those within its class of energies, or the suite's
    primary metric; as a row calls it, with its part: "fid.own". The KL divergence is no criterion: it is taken from the
    density, which a user does not have.

    Raises:
        UsageError: if the suite has neither.
    """
    metrics = [split_reference(ref)[0] for ref in spec.evaluation.metrics]
    judged = _without_weights(_asked(spec) or spec.primary)
    wanted = judged.partition(".")[0]
    found = next((name for name in ("nll", wanted, *PRIMARY) if name in metrics and name != "kl"), None)
    if found is None:
        raise UsageError(
            f"tuning needs a metric on validation data; suite {spec.suite} has {', '.join(metrics)}: add nll"
        )
    return judged if found == wanted else found


def _asked(spec: RunSpec) -> str:
    """The metric by which the suite's questions judge an entry, or "" for the primary one."""
    about = [c for c in spec.contrasts if spec.entry in (c.entry, c.reference)]
    return next((c.metric for c in sorted(about, key=lambda c: c.energies == ACROSS)), "")


def _without_weights(metric: str) -> str:
    """A metric as a suite names it without the weights that it is of: "fid.own" of "fid.own_ema"."""
    return re.sub(r"_(last|ema|best)$", "", metric)


def _criterion(rows: Sequence[Row], entry: RunSpec) -> float:
    """The mean over seeds, lower is better; infinite if a seed has no certified value."""
    column = criterion_of(entry)
    better = registry.find("metrics", column.partition(".")[0]).info.better
    values = [(row.get("metrics") or {}).get(column, {}).get(EVALUATED, {}) for row in rows]
    if any(v.get("value") is None or not v.get("certified", True) for v in values):
        return math.inf
    return (-1.0 if better == "higher" else 1.0) * fmean(v["value"] for v in values)


def _flops(row: Row) -> float:
    return float((row.get("work") or {}).get("flops_train") or 0.0)


def _outcome(study: CellStudy, flops: float) -> Tuned:
    entry, best = study.entry, study.finished[0]
    default = next(c for c in study.finished if c.default)
    chosen = {**best.params, "lr": best.rate}
    edges = [f"{name} {end}" for name, each in study.searched.items() if (end := at_edge(each, chosen[name]))]
    return Tuned(
        suite=entry.suite.removesuffix("-tuning"),
        protocol=entry.suite_version or 1,
        dataset=entry.dataset.label,
        label=entry.objective.label,
        network=network_in_words(entry),
        precision=entry.precision,
        **tuned_for(entry),
        criterion=f"{criterion_of(entry)}, {EVALUATED}, validation data for test data",
        default_value=default.values[-1],
        tuned_value=best.values[-1],
        lr=best.rate,
        params=dict(best.params),
        defaults=defaults_of(entry),
        trials=len(study.candidates),
        pruned=len(study.candidates) - len(study.finished),
        gflops=flops / 1e9,
        edges="; ".join(edges),
        importance=_importance(study),
        searched="; ".join(f"{name} {in_words(each)}" for name, each in study.searched.items()),
        seeds=study.budget.seeds,
        sampler=SAMPLER,
        pruner=PRUNER,
    )


def _importance(study: CellStudy) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few trials it says that all parameters matter alike
        try:
            shares = optuna.importance.get_param_importances(study.study)
        except (ValueError, RuntimeError):  # too few trials, or all of one value
            return ""
    order = sorted(shares, key=lambda name: (-round(shares[name], 2), name))
    return "; ".join(f"{name} {shares[name]:.2f}" for name in order)
