"""Suites (TOML) to runs: every planned run with every default resolved, and an identity for each cell."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench import arithmetic, fingerprint, load
from bench.data_files import AbsentDataError
from bench.declare import Data, plain
from bench.errors import UsageError, suggest
from bench.plain import DENOISER
from bench.rng import Rng

SUITES = Path(__file__).resolve().parent / "suites"
SCHEMA = 1
TRACKS = {"equal_steps": "steps", "equal_flops": "flops", "equal_seconds": "seconds"}  # and what each stops at
SAMPLERS = ("own", "noise", "data", "continued")  # what makes a model's samples, as `evaluate.all_samples` explains
VARIANTS = ("last", "ema", "best")  # of the weights
OPTIMISER: dict[str, Any] = {
    "lr": 1e-3,
    "betas": [0.9, 0.999],
    "warm_up": 100,
    "ema": 0.999,
    "clip": None,
}
_DEFAULTS: dict[str, Any] = {
    "version": 1,
    "track": "equal_steps",
    "seeds": "0-4",
    "metrics": ["*"],
    "exclude": [],
    "timeout_seconds": 900.0,
    "reference": "",
    "primary": "",
    "denoisers": [],
    "precision": arithmetic.FULL,
    "network": {"name": "mlp"},
    "optimiser": OPTIMISER,
    "budget": {"steps": 2000, "batch": 128},
    "evaluation": {
        "checkpoints": 10,
        "samples": 2000,
        "sampler_steps": 500,
        "samplers": [],
        "variants": ["last", "ema", "best"],
    },
    "data": {},
}
# of a plug-in's description in a spec
_IDENTITY = ("name", "params", "sha", "version", "content", "energy", "conditional", "sampler")
_REQUIRED = {"name", "objectives", "datasets"}


@dataclass(frozen=True)
class RunSpec:
    """One planned run in plain values. `cell_id` is the hash of what changes its numbers, seed aside.

    `reference` is the objective that the suite's verdict compares the others with, "" for none; `primary` the metric
    that the suite ranks by, "" for the first of the usual ones.
    """

    suite: str
    suite_version: int
    track: str
    objective: dict[str, Any]
    dataset: dict[str, Any]
    network: dict[str, Any]
    optimiser: dict[str, Any]
    budget: dict[str, Any]
    evaluation: dict[str, Any]
    harness: str
    device: str
    seed: int
    timeout_seconds: float
    skip: str = ""
    reference: str = ""
    primary: str = ""
    precision: str = arithmetic.FULL

    @property
    def cell_id(self) -> str:
        """sha256 of the canonical spec, without what only says how to find or supervise it; 16 digits."""
        aside = ("suite", "suite_version", "seed", "timeout_seconds", "skip", "reference", "primary")
        plain = {k: v for k, v in self.to_dict().items() if k not in aside}
        for part in ("objective", "dataset", "network"):
            plain[part] = {k: v for k, v in plain[part].items() if k in _IDENTITY}
        return fingerprint.digest(json.dumps(plain, sort_keys=True))

    @property
    def control(self) -> bool:
        return bool(self.objective["control"])

    @property
    def classical(self) -> bool:
        """Whether a classical denoiser stands in the objective's place: judged as one, never ranked."""
        return bool(self.objective.get("kind") == DENOISER)

    def to_dict(self) -> dict[str, Any]:
        """All fields in plain values; the precision of training unless it is float32."""
        return {k: v for k, v in asdict(self).items() if (k, v) != ("precision", arithmetic.FULL)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> RunSpec:
        """The spec that `to_dict` gave; other keys are ignored."""
        return cls(**{f.name: plain[f.name] for f in fields(cls) if f.name in plain})


@dataclass(frozen=True)
class Selection:
    """What the command line narrows a suite to; None leaves the suite's own list."""

    objectives: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None


def suite_names() -> list[str]:
    """The suites that come with the project, sorted."""
    return sorted(p.stem for p in SUITES.glob("*.toml"))


def parse_seeds(text: str) -> tuple[int, ...]:
    """(0, 1, 2, 7) from "0-2,7".

    Raises:
        UsageError: if it is not of that form.
    """
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()) or (dash and int(high) < int(low)):
            raise UsageError(f"seeds are written like 0-4 or 0,2,5; got '{text}'")
        seeds.extend(range(int(low), int(high or low) + 1))
    return tuple(dict.fromkeys(seeds))


def split_list(text: str) -> tuple[str, ...]:
    """("a[k=1,m=2]", "b") from "a[k=1,m=2],b": a comma inside brackets does not split."""
    items, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return tuple(item.strip() for item in items if item.strip())


def read_suite(ref: str, including: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The suites that a name or a TOML file stands for, with every default filled in; several for an include list.

    Raises:
        UsageError: if there is no such suite, its TOML cannot be read, or a key or a value is not as it must be.
    """
    path = Path(ref) if ref.endswith(".toml") else SUITES / f"{ref}.toml"
    if not path.is_file():
        if ref.endswith(".toml"):
            raise UsageError(f"a suite given by path must exist; there is no file '{ref}'")
        raise suggest("suite", ref, suite_names())
    try:
        raw = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"suite {path.name} is not readable TOML: {error}") from None
    if "include" in raw:
        if not isinstance(raw["include"], list):
            raise UsageError(f"suite {path.name}: include must be a list of suite names; got {raw['include']!r}")
        if ref in including:
            raise UsageError(f"suite {path.name} includes itself, by way of {', '.join(including)}")
        return [suite for name in raw["include"] for suite in read_suite(name, (*including, ref))]
    return [_complete(path.name, raw)]


def _complete(where: str, raw: dict[str, Any]) -> dict[str, Any]:
    missing = _REQUIRED - raw.keys()
    if missing:
        raise UsageError(f"suite {where} lacks {', '.join(sorted(missing))}; see any file in bench/suites")
    for key in raw:
        if key not in _DEFAULTS and key not in _REQUIRED:
            raise UsageError(f"suite {where}: unknown key '{key}'; it may have {', '.join(sorted(_DEFAULTS))}")
    suite = {**_DEFAULTS, **raw}
    for part in ("optimiser", "evaluation", "budget", "network"):
        given = raw.get(part, {})
        if not isinstance(given, dict):
            raise UsageError(f"suite {where}: {part} must be a table [{part}]; got {given!r}")
        allowed = _DEFAULTS[part].keys() | (set(TRACKS.values()) if part == "budget" else set())
        unknown = given.keys() - allowed if part != "network" else set()
        if unknown:
            raise UsageError(
                f"suite {where}: unknown {part} key '{sorted(unknown)[0]}'; it may have {', '.join(sorted(allowed))}"
            )
        suite[part] = {**_DEFAULTS[part], **given}
        for key, value in given.items():
            if part != "network" and isinstance(_DEFAULTS[part].get(key, 0.0), int | float):
                _require_positive(f"suite {where}: {part}.{key}", value)
    _require_positive(f"suite {where}: timeout_seconds", suite["timeout_seconds"])
    for key, allowed in (("samplers", SAMPLERS), ("variants", VARIANTS)):
        for name in suite["evaluation"][key]:
            if name not in allowed:
                raise UsageError(f"suite {where}: evaluation.{key} may name {', '.join(allowed)}; got '{name}'")
    arithmetic.check(suite["precision"])
    if suite["track"] not in TRACKS:
        raise UsageError(f"suite {where}: track must be one of {', '.join(TRACKS)}; got '{suite['track']}'")
    if TRACKS[suite["track"]] not in suite["budget"]:
        raise UsageError(f"suite {where}: track {suite['track']} needs budget.{TRACKS[suite['track']]}")
    return suite


def _require_positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise UsageError(f"{name} must be a positive number; got {value!r}")


def expand(
    suites: Iterable[dict[str, Any]], selection: Selection, device: str, precision_of_all: str | None = None
) -> list[RunSpec]:
    """Every planned run; a pair that cannot go together stays, with its reason in `skip`.

    Runs are ordered seed by seed, so that an interrupted suite has covered every cell as evenly as it could.

    Args:
        precision_of_all: of training, in place of each suite's own.

    Raises:
        UsageError: if a name, a parameter or the selection is not as it must be.
    """
    suites = [suite | ({"precision": precision_of_all} if precision_of_all else {}) for suite in suites]
    for suite in suites:
        arithmetic.check(suite["precision"], device)
    known = {label for suite in suites for label in suite["datasets"]}
    for wanted in selection.datasets or ():
        name = load.split_reference(wanted)[0]
        if len(suites) > 1 and wanted not in known and name not in {load.split_reference(k)[0] for k in known}:
            raise suggest("data set of these suites", wanted, sorted(known))
    specs = [spec for suite in suites for spec in _expand_suite(suite, selection, device, single=len(suites) == 1)]
    if not specs:
        raise UsageError("the filters leave nothing to run; drop one of --objective, --dataset, --seed")
    return specs


def _expand_suite(suite: dict[str, Any], selection: Selection, device: str, *, single: bool) -> list[RunSpec]:
    everything = [name for name in load.names("objectives") if name not in suite["exclude"]]
    listed = [ref for item in suite["objectives"] for ref in (everything if item == "*" else [item])]
    if suite["reference"] and suite["reference"] not in listed:
        raise UsageError(
            f"suite {suite['name']}: reference must be one of its objectives; got '{suite['reference']}', not one of "
            f"{', '.join(listed)}"
        )
    denoisers = [n for item in suite["denoisers"] for n in (load.names("denoisers") if item == "*" else [item])]
    chosen = _select(selection.objectives, [*listed, *denoisers], keep_unlisted=True)
    objectives = [_describe_denoiser(ref) if ref in denoisers else _describe_objective(ref) for ref in chosen]
    datasets = _select(selection.datasets, suite["datasets"], keep_unlisted=single)
    seeds = selection.seeds if selection.seeds is not None else parse_seeds(str(suite["seeds"]))
    harness = fingerprint.code(Path(__file__).with_name("stack.py"))  # which imports run.py
    specs = []
    for dataset_ref in datasets:
        dataset, sample, absent = _describe_dataset(dataset_ref, suite["data"])
        evaluation = {**suite["evaluation"], "metrics": _metrics(suite["metrics"], sample)}
        for objective in objectives:
            network, skip = _describe_network(suite["network"], objective["energy"] == "noise", sample)
            for seed in seeds:
                specs.append(
                    RunSpec(
                        suite=suite["name"],
                        suite_version=suite["version"],
                        track=suite["track"],
                        objective=objective,
                        dataset=dataset,
                        network=network,
                        optimiser=suite["optimiser"],
                        budget=suite["budget"],
                        evaluation=evaluation,
                        harness=harness,
                        device=device,
                        seed=seed,
                        timeout_seconds=float(suite["timeout_seconds"]),
                        skip=absent or skip or _misfit(objective, sample),
                        reference=str(suite["reference"]),
                        primary=str(suite["primary"]),
                        precision=suite["precision"],
                    )
                )
    return sorted(specs, key=lambda spec: spec.seed)


def _select(wanted: tuple[str, ...] | None, listed: list[str], *, keep_unlisted: bool) -> list[str]:
    """The listed references that match what is wanted, by whole reference or by bare name; else the wanted itself."""
    if wanted is None:
        return listed
    chosen: list[str] = []
    for want in wanted:
        matches = [ref for ref in listed if want in (ref, load.split_reference(ref)[0])]
        chosen += matches or ([want] if keep_unlisted else [])
    return list(dict.fromkeys(chosen))


def _describe(plugin: load.Plugin, ref: str, **values: Any) -> dict[str, Any]:
    name, given = load.split_reference(ref)
    return {
        # an absolute path, so that the child finds it from wherever it starts
        "ref": str(plugin.path) if name.endswith(".py") else name,
        "name": plugin.name,
        "label": plugin.name + (f"[{_plain(given)}]" if given else ""),
        "given": _plain(given),
        "params": plugin.resolve(**values),
        "sha": fingerprint.code(plugin.path),
    }


def _plain(given: dict[str, Any]) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(given.items()))


def _describe_objective(ref: str) -> dict[str, Any]:
    plugin = load.find("objectives", ref)
    return {**_describe(plugin, ref), **plain(plugin.info)}


def _describe_denoiser(ref: str) -> dict[str, Any]:
    """A classical denoiser in an objective's place: it is judged as one and never ranked."""
    plugin = load.find("denoisers", ref)
    about = {"family": "classical denoiser", "energy": "static", "minimiser": "none", "control": True, "note": ""}
    described = _describe(plugin, ref)
    return {**described, "kind": DENOISER, **about, "source": plugin.info.source, "max_dim": None, "proof": {}}


def _metrics(listed: list[str], data: Data | None) -> dict[str, str]:
    """{metric: sha of its code}; "*" stands for every metric that the data set has what is needed for."""
    references: list[str] = []
    for item in listed:
        if item != "*":
            references.append(item)
            continue
        names = load.names("metrics")
        if data is not None:
            names = [n for n in names if load.find("metrics", n).info.needs <= data.provides | {"samples"}]
        references += names
    return {ref: fingerprint.code(load.find("metrics", ref).path) for ref in dict.fromkeys(references)}


def _describe_dataset(ref: str, params: dict[str, Any]) -> tuple[dict[str, Any], Data | None, str]:
    """The data set in plain values, one draw of it, and why there is none where its files are not here."""
    plugin = load.find("datasets", ref)
    shared = {k: v for k, v in params.items() if k not in plugin.given}
    described = _describe(plugin, ref, **shared)
    described["version"] = plugin.info.version
    try:
        sample = load.dataset(ref, Rng(0, "data"), **shared)
    except AbsentDataError as absent:
        return described, None, str(absent)
    if sample.content is not None:
        described["content"] = sample.content
    return described, sample, ""


def _describe_network(settings: dict[str, Any], conditional: bool, data: Data | None) -> tuple[dict[str, Any], str]:
    plugin = load.find("networks", settings["name"])
    described = _describe(plugin, settings["name"], **{k: v for k, v in settings.items() if k != "name"})
    described["conditional"] = conditional
    skip = ""
    if data is not None and plugin.info.event == "image" and data.train.ndim != 4:
        skip = f"network {plugin.name} needs images (C, H, W); {data.name} has events {tuple(data.train.shape[1:])}"
    return described, skip


def _misfit(objective: dict[str, Any], data: Data | None) -> str:
    if data is None:
        return ""
    dim = math.prod(data.train.shape[1:])
    limit = objective["max_dim"]
    if limit is not None and dim > limit:
        return f"{objective['name']} needs events of at most {limit} dimensions; {data.name} has {dim}"
    return ""
