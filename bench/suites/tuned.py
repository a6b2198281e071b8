"""Settings that `tune` chose, as a file that a suite's runs can be planned with."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.common.errors import UsageError
from bench.common.plugin_source import declared_label, fill_label
from bench.common.run_spec import ObjectiveSpec, RunSpec


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What was chosen for one objective on one data set; a line of the file.

    Attributes:
        protocol: the version of the suite that it was tuned under.
        label, dataset: the entry's references, by which a suite finds its line.
        network, precision: what was trained, with every hyper-parameter, and how: settings hold for no other.
        data, code, budget: the hash of what the data set read from files, that of an objective in somebody's own file,
            "" where there is none, and the track with its limit: neither do they hold for others of these.
        criterion: the metric, the split and the weights that settings were chosen by; lower is better.
        default_value, tuned_value: the criterion at the full budget, the mean over the tuning seeds.
        lr, params: the choice; every hyper-parameter.
        defaults: what they were before, from which the search began: it is stale once they have changed.
        trials, pruned: how many there were, and how many of them did not have the whole budget.
        gflops: of all trials, pruned ones included.
        edges: parameters whose choice lies at an end of what was searched.
        importance: the share of the criterion's variance that each parameter explains, "" where nothing says.
        searched: the range of each parameter.
        seeds: of tuning.
        sampler, pruner: what made the trials, and what ended some early.
    """

    suite: str
    protocol: int
    dataset: str
    label: str
    network: str
    precision: str
    data: str
    code: str
    budget: str
    criterion: str
    default_value: float
    tuned_value: float
    lr: float
    params: dict[str, Any]
    defaults: dict[str, Any]
    trials: int
    pruned: int
    gflops: float
    edges: str
    importance: str
    searched: str
    seeds: str
    sampler: str
    pruner: str


_AS_JSON = ("params", "defaults")


def defaults_of(entry: RunSpec) -> dict[str, Any]:
    """The hyper-parameters and the learning rate of an entry that nothing has tuned, as a file keeps them."""
    found: dict[str, Any] = json.loads(json.dumps({**entry.objective.params, "lr": entry.optimiser.lr}))
    return found


def network_in_words(entry: RunSpec) -> str:
    """ "mlp: width=64, depth=2": the network of an entry with every hyper-parameter, as a file keeps it."""
    return f"{entry.network.label}: " + ", ".join(f"{name}={value}" for name, value in entry.network.params.items())


def tuned_for(entry: RunSpec) -> dict[str, str]:
    """What settings of an entry hold for beside its network and precision: `data`, `code` and `budget` of a line."""
    own = entry.objective.ref.partition("[")[0].endswith(".py")
    return {
        "data": entry.dataset.content or "",
        "code": entry.objective.sha if own else "",
        "budget": f"{entry.track} {entry.limit:g}",
    }


def write_tuned(lines: Iterable[Tuned], path: Path) -> None:
    """Writes a file with a line for each; those that it has of other runs stay.

    Raises:
        UsageError: if the file there is none of tuned settings.
        OSError: if the place cannot be written to.
    """
    kept = {_place(t): t for t in read_tuned(path)} if path.is_file() else {}
    kept |= {_place(t): t for t in lines}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Tuned)], lineterminator="\n")
        writer.writeheader()
        for tuned in kept.values():
            plain = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(tuned).items()}
            writer.writerow({**plain, **{name: json.dumps(getattr(tuned, name)) for name in _AS_JSON}})


def _place(line: Tuned) -> tuple[str, ...]:
    return line.suite, line.label, line.dataset, line.network, line.precision


def read_tuned(path: Path) -> list[Tuned]:
    """What `write_tuned` wrote.

    Raises:
        UsageError: if it cannot be read, or holds something else.
    """
    numbers = {
        f.name: {"int": int, "float": float}[str(f.type)] for f in fields(Tuned) if str(f.type) in ("int", "float")
    }
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines: list[dict[str, Any]] = list(csv.DictReader(file))
        for line in lines:
            line |= {name: kind(line[name]) for name, kind in numbers.items()}
            line |= {name: json.loads(line[name]) for name in _AS_JSON}
        return [Tuned(**line) for line in lines]
    except OSError as error:
        raise UsageError(f"tuned settings must be a readable file; '{path}': {error.strerror}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"'{path}' holds no tuned settings ({type(error).__name__}: {error}); `tune` writes them"
        ) from None


def with_tuned(
    specs: Iterable[RunSpec], tuned: Iterable[Tuned], where: str, since: Mapping[str, int] = MappingProxyType({})
) -> list[RunSpec]:
    """The runs with what was chosen for their objective and data set; what is not tuned as it is.

    Args:
        since: the first version of a suite whose settings still hold, by its name; the present one if it is absent.

    Raises:
        UsageError: if a setting is missing, or was chosen under another version of the suite, for another network,
            precision, data, code or budget, or from other defaults.
    """
    chosen: dict[tuple[str, str, str], dict[tuple[str, str], Tuned]] = {}
    for line in tuned:
        chosen.setdefault((line.suite, line.label, line.dataset), {})[line.network, line.precision] = line
    found = []
    for spec in specs:
        if spec.reference_fit or spec.classical or spec.skip:
            found.append(spec)
            continue
        own = chosen.get((spec.suite, spec.objective.label, spec.dataset.label), {})
        trained = network_in_words(spec), spec.precision
        what = f"{spec.objective.label} on {spec.dataset.label} of suite {spec.suite}"
        if own and trained not in own:
            known = " and ".join(f"{network} in {precision}" for network, precision in own)
            raise UsageError(
                f"{where} has settings of {what} for the network {known}; these runs train {trained[0]} in "
                f"{trained[1]}: tune it, too"
            )
        setting = own.get(trained)
        if setting is None:
            raise UsageError(
                f"{where} has no settings for {what}; run `tune --suite {spec.suite}`, or leave it out with "
                "--objective and --dataset"
            )
        version = spec.suite_version or 1
        if not since.get(spec.suite, version) <= setting.protocol <= version:
            raise UsageError(
                f"{where} was tuned under version {setting.protocol} of suite {spec.suite}; this is version "
                f"{spec.suite_version}: tune again"
            )
        for name, now_is in tuned_for(spec).items():
            if (was := getattr(setting, name)) != now_is:
                raise UsageError(
                    f"{where} has settings of {what} for {name} '{was}'; these runs have '{now_is}': tune again"
                )
        if setting.defaults != (now := defaults_of(spec)):
            changed = ", ".join(
                k for k in now.keys() | setting.defaults.keys() if now.get(k) != setting.defaults.get(k)
            )
            raise UsageError(
                f"{where} has settings of {spec.objective.label} on {spec.dataset.label} that were tuned from another "
                f"default of {changed}: tune again"
            )
        objective = replace(spec.objective, params=setting.params, short_label=_label(spec.objective, setting))
        found.append(replace(spec, objective=objective, optimiser=replace(spec.optimiser, lr=setting.lr), tuned=True))
    return found


def _label(objective: ObjectiveSpec, setting: Tuned) -> str:
    """The short label without the hyper-parameters that were searched, which differ by data set: "CD" of "CD-10"."""
    if objective.ref.partition("[")[0].endswith(".py"):
        return objective.short_label
    template = declared_label("objectives", objective.name)
    for part in filter(None, setting.searched.split("; ")):
        template = re.sub(rf"[-_ ]?\{{{re.escape(part.partition(' ')[0])}\}}", "", template)
    return fill_label(template, setting.params) or objective.short_label
