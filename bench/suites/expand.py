"""Suites (TOML) to runs: every planned run with every default resolved, and an identity for each cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Any

from bench.common import fingerprint
from bench.common.data_paths import names_data_path
from bench.common.errors import UsageError, suggest
from bench.common.paths import HARNESS, expanded
from bench.common.references import parse_seeds, split_reference
from bench.common.run_spec import (
    DENOISER,
    NOT_AN_ENERGY,
    Conditional,
    ContrastSpec,
    DatasetSpec,
    NetworkSpec,
    ObjectiveSpec,
    RunSpec,
    Value,
    class_of,
    told,
)
from bench.core import precision
from bench.core.data_types import Data
from bench.core.declarations import NO_AXES, OF_MODEL, PLAIN, plain_declaration
from bench.core.rng import Rng
from bench.data.data_dir import AbsentDataError
from bench.plugins import builders, registry
from bench.suites.schema import ConvergenceCheck, Suite


@dataclass(frozen=True)
class Selection:
    """What the command line narrows a suite to; None leaves the suite's own list."""

    objectives: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    network: str | None = None


def plan_runs(
    suites: Iterable[Suite], selection: Selection, device: str, precision_of_all: str | None = None
) -> list[RunSpec]:
    """Every planned run; a pair that cannot go together stays, with its reason in `skip`.

    Runs are ordered seed by seed, so that an interrupted suite has covered every cell as evenly as it could.

    Args:
        precision_of_all: of training, in place of each suite's own.

    Raises:
        UsageError: if a name, a parameter or the selection is not as it must be.
    """
    suites = [replace(suite, precision=precision_of_all or suite.precision) for suite in suites]
    for suite in suites:
        precision.check_precision(suite.precision, device)
    known = {label for suite in suites for label in suite.datasets}
    for wanted in selection.datasets or ():
        name = split_reference(wanted)[0]
        if len(suites) > 1 and wanted not in known and name not in {split_reference(k)[0] for k in known}:
            raise suggest("data set of these suites", wanted, sorted(known))
    specs = [spec for suite in suites for spec in _expand_suite(suite, selection, device, single=len(suites) == 1)]
    _require_one_per_name(specs)
    if not specs:
        raise UsageError("the filters leave nothing to run; drop one of --objective, --dataset, --seed")
    return specs


def _require_one_per_name(specs: Iterable[RunSpec]) -> None:
    """Refuses two data sets of one name, whose values would stand in one cell as if they were seeds.

    Raises:
        UsageError: if there are such.
    """
    known: dict[tuple[str, str], DatasetSpec] = {}
    for spec in specs:
        first = known.setdefault((spec.suite, spec.dataset.label), spec.dataset)
        if first.ref != spec.dataset.ref:
            raise UsageError(
                f"data sets of a suite need names of their own; '{first.ref}' and '{spec.dataset.ref}' are both called "
                f"{first.label}: rename a file, or make two suites"
            )


def _expand_suite(suite: Suite, selection: Selection, device: str, *, single: bool) -> Iterable[RunSpec]:
    own_network = suite.network
    if selection.network is not None:  # with its own defaults: the suite's are those of another network
        suite = replace(suite, network={"name": selection.network})
    listed = _listed_objectives(suite)
    denoisers = [n for item in suite.denoisers for n in (registry.names("denoisers") if item == "*" else [item])]
    chosen = _select(selection.objectives, [*listed, *denoisers], keep_unlisted=True)
    objectives = [
        _describe_denoiser(ref, suite.network) if ref in denoisers else _describe_objective(ref) for ref in chosen
    ]
    contrasts = _contrasts(suite, listed)
    datasets = _select(selection.datasets, suite.datasets, keep_unlisted=single)
    seeds = selection.seeds if selection.seeds is not None else parse_seeds(suite.seeds)
    harness = fingerprint.code(HARNESS)
    specs = []
    for dataset_ref in datasets:
        dataset, sample, absent = _describe_dataset(dataset_ref, suite.data)
        _check_rows(dataset, sample, suite.budget.batch)
        evaluation = replace(suite.evaluation, metrics=_metrics(suite, sample))
        networks: dict[Conditional, tuple[NetworkSpec, str, bool]] = {}
        for objective in objectives:
            conditional = told(objective.energy, objective.levels)
            if conditional not in networks:
                described, why = _describe_network(suite.network, conditional, sample)
                other = selection.network is not None and _differ(
                    described, _describe_network(own_network, conditional, sample)[0]
                )
                networks[conditional] = described, why, other
            network, skip, other_network = networks[conditional]
            specs += [
                RunSpec(
                    suite=suite.name,
                    suite_version=suite.version,
                    track=suite.track,
                    objective=objective,
                    dataset=dataset,
                    network=network,
                    other_network=other_network,
                    optimiser=suite.optimiser,
                    budget=suite.budget,
                    evaluation=evaluation,
                    harness=harness,
                    device=device,
                    seed=seed,
                    timeout_seconds=float(suite.timeout_seconds),
                    skip=absent or skip or _missing(objective) or _misfit(objective, sample),
                    reference=suite.reference,
                    primary=suite.primary,
                    contrasts=contrasts,
                    precision=suite.precision,
                    ranked=suite.ranked,
                    batch_seeds=suite.batch_seeds,
                    save_weights=suite.save_weights,
                    memory_gb=suite.limits.memory_gb,
                    convergence_bound=suite.convergence.bound if suite.convergence else None,
                )
                for seed in seeds
            ]
        if suite.convergence is not None and sample is not None:
            specs += _reference_fits(suite.convergence, specs[-1], sample)
    return sorted(specs, key=lambda spec: spec.seed)


def _differ(a: NetworkSpec, b: NetworkSpec) -> bool:
    """Whether two networks are not the same, however they were asked for."""
    return (a.name, a.sha, a.params) != (b.name, b.sha, b.params)


def _reference_fits(check: ConvergenceCheck, entry: RunSpec, sample: Data) -> list[RunSpec]:
    """The fits by maximum likelihood on one data set, in the setting of an entry but for their own budget."""
    objective = _describe_objective(check.objective)
    if _misfit(objective, sample):
        return []
    budget = replace(entry.budget.times(check.budget), batch=check.batch)
    return [
        replace(
            entry,
            objective=objective,
            network=replace(entry.network, conditional=False),
            optimiser=replace(entry.optimiser, lr=lr),
            budget=budget,
            seed=seed,
            skip="",
            role=f"reference fit (maximum likelihood, lr {lr:g})",
        )
        for lr in check.lr
        for seed in parse_seeds(check.seeds)
    ]


def _listed_objectives(suite: Suite) -> list[str]:
    """The references of a suite's objectives, "*" resolved.

    Raises:
        UsageError: if an excluded name is unknown, or the reference is not among the objectives.
    """
    known = registry.names("objectives")
    for name in suite.exclude:
        if name not in known:
            raise suggest(f"objective in exclude of suite {suite.name}", name, known)
    everything = [name for name in known if name not in suite.exclude]
    listed = [ref for item in suite.objectives for ref in (everything if item == "*" else [item])]
    if suite.reference and suite.reference not in listed:
        raise suggest(f"reference of suite {suite.name}, which must be one of its objectives", suite.reference, listed)
    return listed


def _contrasts(suite: Suite, listed: list[str]) -> tuple[ContrastSpec, ...]:
    """The suite's contrasts with both sides named as rows name them, and the class of energies that each is about.

    Raises:
        UsageError: if a side is not among the suite's objectives, or both are the same.
    """
    found = []
    for contrast in suite.contrast:
        sides = {"entry": contrast.entry, "reference": contrast.reference or suite.reference}
        for side, ref in sides.items():
            if ref not in listed:
                what = f"{side} of contrast '{contrast.name}' in suite {suite.name}, one of its objectives"
                raise suggest(what, ref, listed)
        described = {side: _describe_objective(ref) for side, ref in sides.items()}
        named = {side: objective.entry for side, objective in described.items()}
        if named["entry"] == named["reference"]:
            raise UsageError(f"contrast '{contrast.name}' of suite {suite.name} compares {named['entry']} with itself")
        found.append(replace(contrast, **named, energies=class_of(*described.values())))
    return tuple(found)


def _select(wanted: Sequence[str] | None, listed: Sequence[str], *, keep_unlisted: bool) -> list[str]:
    """The listed references that match what is wanted, by whole reference or by bare name; else the wanted itself."""
    if wanted is None:
        return list(listed)
    chosen: list[str] = []
    for want in wanted:
        matches = [ref for ref in listed if want in (ref, split_reference(ref)[0])]
        chosen += matches or ([want] if keep_unlisted else [])
    return list(dict.fromkeys(chosen))


def _describe(plugin: registry.Plugin, ref: str, **values: Value) -> dict[str, Any]:
    """The fields of a `PluginSpec`."""
    name, given = split_reference(ref)
    return {
        "ref": _absolute(plugin, name),
        "name": plugin.name,
        "label": plugin.name + (f"[{_assignments(given)}]" if given else ""),
        "given": _assignments(given),
        "params": plugin.resolve(**values),
        "sha": fingerprint.code(plugin.path),
    }


def _absolute(plugin: registry.Plugin, name: str) -> str:
    """A path that the child finds from wherever it starts; a name as it is."""
    if plugin.kind == "datasets" and names_data_path(name):
        return str(expanded(Path(name)).resolve())
    return str(plugin.path) if name.endswith(".py") else name


def _assignments(values: Mapping[str, Value]) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(values.items()))


def _describe_objective(ref: str) -> ObjectiveSpec:
    plugin = registry.find("objectives", ref)
    described = _describe(plugin, ref)
    params = described["params"]
    mentioned = {name for _, name, _, _ in Formatter().parse(plugin.info.label) if name}
    changed = {k: v for k, v in params.items() if v != plugin.parameters[k].default and k not in mentioned}
    declared = {k: v for k, v in plain_declaration(plugin.info).items() if k not in ("label", "host_work")}
    return ObjectiveSpec(
        **described | declared,
        short_label=plugin.info.label.format(**params) or plugin.name,
        settings=", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in changed.items()),
    )


def _describe_denoiser(ref: str, network: Mapping[str, Value]) -> ObjectiveSpec:
    """A denoiser in an objective's place: it is judged as one and never ranked.

    One that is trained takes of the suite's network the hyper-parameters that it has, too.
    """
    plugin = registry.find("denoisers", ref)
    own = plugin.parameters.keys() - plugin.given.keys() if plugin.has_memory else ()
    return ObjectiveSpec(
        **_describe(plugin, ref, **{name: network[name] for name in own if name in network}),
        short_label=plugin.name.replace("_", " "),
        settings=", ".join(f"{k}={v}" for k, v in plugin.given.items()),
        family=NOT_AN_ENERGY if plugin.has_memory else "classical denoiser",
        energy="noise" if plugin.info.trunk else "static",
        control=True,
        source=plugin.info.source,
        kind=DENOISER,
    )


def _metrics(suite: Suite, data: Data | None) -> dict[str, str]:
    """{metric: sha of its code}; "*" stands for every metric that the data set has what is needed for, but dear ones.

    What a suite lists by itself, with settings of its own, is not among those of "*".

    Raises:
        UsageError: if a metric, or the one that the suite ranks by, is unknown, or one is listed with two settings.
    """
    listed = [item for item in dict.fromkeys(suite.metrics) if item != "*"]
    by_name: dict[str, str] = {}
    for item in listed:
        name = registry.find("metrics", item).info.name
        if (other := by_name.setdefault(name, item)) != item:
            raise UsageError(
                f"suite {suite.name}: a row has one value of {name}, and '{other}' and '{item}' are two: keep one, or "
                "make two suites"
            )
    names = [name for name in registry.names("metrics") if name not in by_name]
    references: list[str] = []
    for item in suite.metrics:
        if item != "*":
            references.append(item)
        else:
            infos = {name: registry.find("metrics", name).info for name in names}
            known = None if data is None else data.provides | OF_MODEL
            references += [n for n, i in infos.items() if not i.dear and (known is None or i.needs <= known)]
    _check_primary(suite, [split_reference(ref)[0] for ref in references])
    return {ref: fingerprint.code(registry.find("metrics", ref).path) for ref in dict.fromkeys(references)}


def _check_primary(suite: Suite, metrics: Sequence[str]) -> None:
    """`primary`, and a contrast's own, is a metric, maybe with ".part" and then "_last", "_ema" or "_best"."""
    named = {metric + suffix for metric in metrics for suffix in ("", "_last", "_ema", "_best")}
    places = {"primary": suite.primary} | {f"contrast '{c.name}'": c.metric for c in suite.contrast}
    for place, wanted in places.items():
        metric, dot, _ = wanted.partition(".")
        if wanted and metric not in (metrics if dot else named):
            raise suggest(f"metric in {place} of suite {suite.name}", metric, sorted(named))


def _describe_dataset(ref: str, params: Mapping[str, Value]) -> tuple[DatasetSpec, Data | None, str]:
    """The data set in plain values, one draw of it, and why there is none where its files are not here."""
    plugin = registry.find("datasets", ref)
    shared = {k: v for k, v in params.items() if k not in plugin.given}
    if names_data_path(split_reference(ref)[0]):  # a suite's sizes are of data that are drawn
        shared = {k: v for k, v in shared.items() if k in plugin.parameters}
    described = {**_describe(plugin, ref, **shared), "version": plugin.info.version}
    try:
        sample = builders.dataset(ref, Rng(0, "data"), **shared)
    except AbsentDataError as absent:
        return DatasetSpec(**described), None, str(absent)
    return DatasetSpec(**described, content=builders.content_of(ref, sample, **shared)), sample, ""


def _check_rows(dataset: DatasetSpec, sample: Data | None, batch: int) -> None:
    """Holds somebody's own points to the size of a batch.

    Raises:
        UsageError: if there are fewer to train on.
    """
    if sample is not None and names_data_path(dataset.ref) and len(sample.train) < batch:
        raise UsageError(
            f"a batch of {batch} needs as many rows to train on; {dataset.name} leaves {len(sample.train)}: give more, "
            "or lower budget.batch in the suite"
        )


def _describe_network(
    settings: Mapping[str, Value], conditional: Conditional, data: Data | None
) -> tuple[NetworkSpec, str]:
    ref = str(settings["name"])
    plugin = registry.find("networks", ref)
    described = _describe(plugin, ref, **{k: v for k, v in settings.items() if k != "name"})
    skip = ""
    if data is not None and plugin.info.event == "image" and data.train.ndim != 4:
        skip = f"network {plugin.name} needs images (C, H, W); {data.name} has events {tuple(data.train.shape[1:])}"
    if plugin.info.plain and conditional:
        skip = f"network {plugin.name} is {PLAIN}; decorate it with @network() of bench.api for this objective"
    elif conditional == "axes" and not plugin.info.axes:
        skip = f"network {plugin.name} {NO_AXES}"
    elif plugin.info.plain and data is not None:
        builders.network(ref, tuple(data.train.shape[1:]), Rng(0, "init"))  # so that a mistake stops the plan
    return NetworkSpec(**described, conditional=conditional, plain=plugin.info.plain), skip


def _missing(objective: ObjectiveSpec) -> str:
    """Why a denoiser cannot be run on this machine; "" if it can."""
    return registry.find("denoisers", objective.ref).info.missing if objective.kind == DENOISER else ""


def _misfit(objective: ObjectiveSpec, data: Data | None) -> str:
    if data is None:
        return ""
    dim = math.prod(data.train.shape[1:])
    if objective.max_dim is not None and dim > objective.max_dim:
        return f"{objective.name} needs events of at most {objective.max_dim} dimensions; {data.name} has {dim}"
    return ""
