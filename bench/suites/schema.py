"""Suites as TOML files: which there are, what a file may say, and every default."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec

from bench.common.errors import UsageError, suggest
from bench.common.paths import SUITES
from bench.common.run_spec import (
    FULL_PRECISION,
    PRECISIONS,
    BudgetSpec,
    ContrastSpec,
    Count,
    EvaluationSpec,
    OptimiserSpec,
    Positive,
    Track,
    Value,
)
from bench.suites.files import suite_names

MOST_SUITES = 100  # files of a suite
MOST_BYTES = 1 << 20  # of a file
STOPS_AT = {"equal_steps": "steps", "equal_flops": "flops", "equal_seconds": "seconds", "equal_time": "flops"}
RESERVED = ("env", "plans", "derived", "plots", "suites")  # folders of a store that hold no suite
PAGES = (".csv", ".json", ".md")  # and the ends of its files' names
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=60)]
Names = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class ConvergenceCheck:
    """The reference fit of each data set of one or two dimensions, and how near the data it must come.

    Attributes:
        objective: maximum likelihood, with its settings.
        bound: the largest KL divergence of the best fit, in nats, at which the data set is ranked.
        lr: a fit for each.
        budget: how many times the budget of an entry.
        batch: examples in a batch.
        seeds: "0-1" or "0,1".
    """

    objective: str
    bound: Positive = 0.02
    lr: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1)] = (4e-3, 1e-2)
    budget: Positive = 2.0
    batch: Count = 256
    seeds: str = "0-1"


@dataclass(frozen=True, kw_only=True)
class TuningBudget:
    """What `tune` spends on each objective and data set.

    Attributes:
        generations: of trials; those of one share their hyper-parameters and differ in the learning rate.
        rates: learning rates in a generation.
        rungs: shares of an entry's budget, rising to 1; what is poor at one does not reach the next.
        kept: how many of a generation go on from a rung, beside the default.
        seeds: those of tuning, which no table shows.
    """

    generations: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4
    rates: Annotated[int, msgspec.Meta(ge=1, le=64)] = 3
    rungs: Annotated[tuple[Annotated[float, msgspec.Meta(gt=0, le=1)], ...], msgspec.Meta(min_length=1)] = (0.25, 1.0)
    kept: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    seeds: str = "100-103"


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    """What a run may use.

    Attributes:
        memory_gb: resident memory, of the run and all that it starts; a fair share of the machine where it is not set.
    """

    memory_gb: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What a suite's file says, every default filled in.

    Attributes:
        objectives, datasets: references; "*" stands for every objective of the project, less `exclude`.
        denoisers: what is no energy, beside the objectives or alone where there are none; "*" stands for all of them.
            One that is trained is a score network, too, whose samples are judged where the objectives' are.
        seeds: "0-4" or "0,2,5".
        metrics: "*" stands for every metric that a data set has what is needed for, but dear ones.
        network: its name and its hyper-parameters.
        data: parameters that every data set is given.
        contrast: the questions that it asks, each a mean over the data sets of entry against reference. A reference or
            a metric of its own makes several verdicts of a suite, such as one of each class of energies.
        ranked: whether its tables rank the entries; a quick suite that certifies nothing prints values alone.
        batch_seeds: trains the seeds of a cell together where that is faster; the numbers are the same.
        save_weights: whether each run leaves its trained weights beside its row, for `bench.api.load_energy`.
        tuning: what `tune` may spend.
        timeout_seconds: how long a run may take; `inf` for no limit.
        limits: what else a run may use.
        tuned_since: the first version whose tuned settings hold; the present one if None.
        convergence: the check without which nothing is ranked; None for suites that have no exact reference.
    """

    name: Name
    objectives: tuple[str, ...]
    datasets: Names
    version: Count = 1
    tuned_since: Count | None = None
    track: Track = "equal_steps"
    seeds: str = "0-4"
    metrics: Names = ("*",)
    exclude: tuple[str, ...] = ()
    timeout_seconds: Positive = 900.0
    reference: str = ""
    primary: str = ""
    denoisers: tuple[str, ...] = ()
    precision: str = FULL_PRECISION
    network: dict[str, Value] = field(default_factory=lambda: {"name": "mlp"})
    optimiser: OptimiserSpec = field(default_factory=OptimiserSpec)
    budget: BudgetSpec = field(default_factory=BudgetSpec)
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    data: dict[str, Value] = field(default_factory=dict)
    contrast: tuple[ContrastSpec, ...] = ()
    ranked: bool = True
    batch_seeds: bool = False
    save_weights: bool = False
    convergence: ConvergenceCheck | None = None
    tuning: TuningBudget = field(default_factory=TuningBudget)
    limits: RunLimits = field(default_factory=RunLimits)


def read_suite(ref: str) -> list[Suite]:
    """The suites that a name or a TOML file stands for; several for an include list.

    A suite may name another as its `base`: it has all that the base says but for what it says itself, key by key.

    Raises:
        UsageError: if there is no such suite, its TOML cannot be read, or a key or a value is not as it must be.
    """
    return [suite for suite, _ in _read(ref)]


def own_files(ref: str) -> dict[str, bytes]:
    """The content of those of its files that do not come with the project, by their suites' names.

    Raises:
        UsageError: as `read_suite`.
    """
    return {suite.name: path.read_bytes() for suite, path in _read(ref) if path.resolve().parent != SUITES}


def _read(
    ref: str, including: tuple[str, ...] = (), found: dict[Path, list[tuple[Suite, Path]]] | None = None
) -> list[tuple[Suite, Path]]:
    """The suites of a file; one that several lists include is read once, and comes once."""
    found = {} if found is None else found
    path = _suite_file(ref)
    if ref in including:
        raise UsageError(f"suite {path.name} includes itself, by way of {', '.join(including)}")
    if path.resolve() in found:
        return []
    if len(found) >= MOST_SUITES or len(including) >= MOST_SUITES:
        raise UsageError(f"a suite includes at most {MOST_SUITES} files; {including[-1]} is one of more: split it")
    found[path.resolve()] = []
    raw = _toml(path)
    if "include" not in raw:
        return [(parse_suite(_on_its_base(raw, (ref,)), path.name), path)]
    if set(raw) != {"include"}:
        other = ", ".join(sorted(set(raw) - {"include"}))
        raise UsageError(f"suite {path.name}: include stands alone; got {other} beside it: put that into the parts")
    names = raw["include"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UsageError(f"suite {path.name}: include must be a list of suite names; got {names!r}")
    return [part for name in names for part in _read(name, (*including, ref), found)]


def _suite_file(ref: str) -> Path:
    path = Path(ref) if ref.endswith(".toml") else SUITES / f"{ref}.toml"
    if path.is_file():
        return path
    if ref.endswith(".toml"):
        raise UsageError(f"a suite given by path must exist; there is no file '{ref}'")
    raise suggest("suite", ref, suite_names())


def _toml(path: Path) -> dict[str, Any]:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise UsageError(f"a suite has at most {MOST_BYTES} bytes; {path.name} has {size}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"suite {path.name} is not readable TOML: {error}") from None


def _on_its_base(raw: dict[str, Any], seen: tuple[str, ...]) -> dict[str, Any]:
    """What a file says, over what its base says; tables are merged, everything else is replaced."""
    base = raw.pop("base", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise UsageError(f"suite {seen[-1]}: base must be the name of a suite; got {base!r}")
    if len(seen) >= MOST_SUITES:
        raise UsageError(f"a suite has at most {MOST_SUITES} bases, one of the other; {seen[0]} has more")
    if base in seen:
        raise UsageError(f"suite {seen[0]} is its own base, by way of {', '.join(seen)}")
    below = _toml(_suite_file(base))
    if "include" in below:
        raise UsageError(f"suite {seen[-1]}: base must be one suite; {base} includes several")
    return _merged(_on_its_base(below, (*seen, base)), raw)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    tables = {k for k in below.keys() & above.keys() if isinstance(below[k], dict) and isinstance(above[k], dict)}
    return {**below, **above, **{k: _merged(below[k], above[k]) for k in tables}}


def parse_suite(raw: Mapping[str, Any], where: str) -> Suite:
    """The suite that a file's plain values describe.

    Args:
        where: the file's name, for errors.

    Raises:
        UsageError: if a key is missing or unknown, or a value is not of its type or out of its bounds.
    """
    try:
        if missing := [name for name in ("name", "objectives", "datasets") if name not in raw]:
            raise UsageError(f"it lacks {', '.join(missing)}; see `bench list suites` and `bench show SUITE`")
        _refuse_unknown(raw, Suite)
        _refuse_infinite(raw)
        suite: Suite = msgspec.convert(raw, Suite)
        _refuse_contradictions(suite)
    except msgspec.ValidationError as error:
        raise UsageError(f"suite {where}: {_in_words(error, raw)}") from None
    except UsageError as error:
        raise UsageError(f"suite {where}: {error}") from None
    return suite


def _refuse_unknown(raw: Mapping[str, Any], kind: type, prefix: str = "") -> None:
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    if kind is EvaluationSpec:
        known.remove("metrics")  # hashes, which the plan fills in
    if kind is ContrastSpec:
        known.remove("energies")  # which follow from the objectives
    for key, value in raw.items():
        if key not in known:
            raise suggest("key", prefix + key, [prefix + name for name in known])
        nested = next((t for t in (hints[key], *get_args(hints[key])) if isinstance(t, type) and is_dataclass(t)), None)
        items = {f"{prefix}{key}[{k}]": item for k, item in enumerate(value)} if isinstance(value, list) else {}
        for place, item in (items or {f"{prefix}{key}": value}).items():
            if nested and isinstance(item, Mapping):
                _refuse_unknown(item, nested, f"{place}.")


def _refuse_infinite(raw: Mapping[str, Any]) -> None:
    for path, value in _values(raw):
        unlimited = path == "timeout_seconds" and value == math.inf
        if isinstance(value, float) and not math.isfinite(value) and not unlimited:
            raise UsageError(f"{path} must be a finite number; got {value}")


def _values(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value at any depth by its key as msgspec writes it, "budget.steps" or "optimiser.betas[0]"."""
    yield path, value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _values(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for k, inner in enumerate(value):
            yield from _values(inner, f"{path}[{k}]")


def _refuse_contradictions(suite: Suite) -> None:
    plain = suite.name.lower().rstrip(".-")  # as its folder is named, where letters' case does not count
    if plain in RESERVED or plain.endswith(PAGES):
        kept = f"one of {', '.join(RESERVED)}, nor end in {', '.join(PAGES)}"
        raise UsageError(f"name must not be {kept}, which a store keeps for itself; got '{suite.name}'")
    if suite.precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}; got '{suite.precision}'")
    if not suite.objectives and not suite.denoisers:
        raise UsageError("objectives and denoisers are both empty; name one of them at least")
    stop = STOPS_AT[suite.track]
    if getattr(suite.budget, stop) is None:
        raise UsageError(f"track {suite.track} needs budget.{stop}")
    if suite.track == "equal_time" and suite.denoisers:
        raise UsageError("track equal_time is in passes of an energy; leave denoisers out, or take equal_flops")
    if suite.budget.batch % suite.optimiser.accumulate:
        parts, batch = suite.optimiser.accumulate, suite.budget.batch
        raise UsageError(f"optimiser.accumulate must divide budget.batch, {batch}; got {parts}")
    rungs = suite.tuning.rungs
    if rungs[-1] != 1 or any(a >= b for a, b in pairwise(rungs)):
        raise UsageError(f"tuning.rungs must rise to 1, the whole budget; got {list(rungs)}")
    if not isinstance(suite.network.get("name"), str):
        raise UsageError('network needs a name, such as name = "mlp"')
    names = [contrast.name for contrast in suite.contrast]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two contrasts are called '{twice[0]}'; give each a name of its own")
    for contrast in suite.contrast:
        if not contrast.reference and not suite.reference:
            raise UsageError(f"contrast '{contrast.name}' needs a reference: its own, or the suite's")
    if not suite.evaluation.variants:
        raise UsageError(f"evaluation.variants must name one of {', '.join(_choices('variants'))}; it is empty")


def _choices(name: str) -> tuple[str, ...]:
    """What an entry of a list in [evaluation] may be."""
    choices: tuple[str, ...] = get_args(get_args(get_type_hints(EvaluationSpec)[name])[0])
    return choices


def _in_words(error: msgspec.ValidationError, raw: Mapping[str, Any]) -> str:
    """msgspec's error with the key as it stands in the file, the value that was given, and what it may be."""
    rule, _, place = str(error).partition(" - at `$.")
    path = place.rstrip("`")
    said = f"{path}: {rule[0].lower()}{rule[1:]}; got {dict(_values(raw)).get(path)!r}"
    if not rule.startswith("Invalid enum"):
        return said
    key = path.partition("[")[0].rpartition(".")[2]
    return f"{said}; it may be {', '.join(STOPS_AT if key == 'track' else _choices(key))}"
