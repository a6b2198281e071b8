"""What a change is held against: counted work and pinned quality of every cell of a suite, small enough to review."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.common.errors import UsageError
from bench.common.run_spec import ObjectiveSpec
from bench.results.records import Record

SCHEMA = 1
KIND = "ebm-bench baseline"


class IncomparableError(UsageError):
    """What nothing can be held against: missing, torn, foreign or newer. The gate has not decided, and exits with 4."""


@dataclass(frozen=True)
class Measured:
    """One cell, an objective on a data set.

    Attributes:
        status: by seed.
        work: counts of one training step, and parameters; they depend on neither the seed nor the machine.
        quality: metric -> seed -> value, None where there is none.
        better: metric -> "lower" or "higher".
        command: what runs the cell again.
        cpu_ms: CPU milliseconds of a training step, median over seeds: remembered, not compared.
    """

    status: dict[str, str]
    work: dict[str, float]
    quality: dict[str, dict[str, float | None]]
    better: dict[str, str] = field(default_factory=dict)
    command: str = ""
    cpu_ms: float | None = None


@dataclass(frozen=True)
class Baseline:
    """The cells of one suite by name, "objective on data set", and where they were measured.

    Attributes:
        env_id: of the environment; under another one, rounding differs.
        host: the class of machine, by its processor; times compare within one.
        accepted: who it was accepted for: reason, commit, date.
    """

    suite: str
    env_id: str
    cells: dict[str, Measured]
    accepted: dict[str, str] = field(default_factory=dict)
    host: str = ""


def measured_baseline(records: Iterable[Record], suite: str, ref: str = "") -> Baseline:
    """The cells of a suite among a store's records.

    Args:
        ref: what `run --suite` takes for it, where that is not its name.

    Raises:
        UsageError: if its rows come from several environments.
    """
    chosen = [record for record in records if record.spec.suite == suite]
    environments = sorted({str(e) for r in chosen if (e := r.get("env.env_id"))})
    if len(environments) > 1:
        raise UsageError(f"a gate compares one environment; the rows of {suite} come from {len(environments)}")
    files: dict[str, set[str]] = {}
    for record in chosen:
        files.setdefault(cell_name(record), set()).add(record.spec.objective.ref)
    groups: dict[str, list[Record]] = {}
    for record in chosen:
        # two files of one name are two cells
        name = cell_name(record) if len(files[cell_name(record)]) == 1 else f"{record.objective} on {record.dataset}"
        groups.setdefault(name, []).append(record)
    cells = {name: _cell(records, ref or suite) for name, records in groups.items()}
    hosts = [host_class(env) for record in chosen if (env := record.get("env"))]
    return Baseline(suite, environments[0] if environments else "", cells, host=hosts[0] if hosts else "")


def cell_name(record: Record) -> str:
    """What a cell is called in a baseline: by the objective's full name, which changes less often than its label."""
    return f"{record.spec.entry} on {record.dataset}"


def reference(about: ObjectiveSpec) -> str:
    """An objective as the command line takes it, a file by its path from the working directory if it lies below it."""
    path, here = Path(about.ref), Path.cwd()
    name = str(path.relative_to(here)) if path.is_relative_to(here) else about.ref or about.name
    return name + (f"[{about.given}]" if about.given else "")


def host_class(environment: Mapping[str, Any]) -> str:
    """What times depend on beside the code, from a row's environment: "system, processor, cores"."""
    found = (environment.get(key, "unknown") for key in ("system", "processor", "cores"))
    return "{}, {}, {} cores".format(*found)


def _cell(records: list[Record], suite: str) -> Measured:
    ran = [r for r in records if r.get("work")]
    work = {k: v for k, v in (ran[0].get("work") if ran else {}).items() if k.endswith("_per_step")}
    work |= {k: v for k, v in ((ran[0].get("model") if ran else None) or {}).items() if k.startswith("n_params")}
    quality: dict[str, dict[str, float | None]] = {}
    better: dict[str, str] = {}
    for record in records:
        for key, found in record.values.items():
            quality.setdefault(key.column, {})[str(record.spec.seed)] = found.value
            better[key.column] = found.better
    first, seeds = records[0], sorted({r.spec.seed for r in records})
    objective = reference(first.spec.objective)
    command = (
        f"python -m bench run --suite {shlex.quote(suite)} --objective {shlex.quote(objective)} "
        f"--dataset {shlex.quote(first.dataset)} --seed {','.join(map(str, seeds))}"
    )
    steps = [1000 * cpu / n for r in ran if (cpu := r.get("time.train_cpu")) and (n := r.get("work.steps"))]
    cpu_ms = median(steps) if steps else None
    return Measured({str(r.spec.seed): r.status for r in records}, work, quality, better, command, cpu_ms)


def save_baseline(baseline: Baseline, path: Path) -> None:
    """Writes it sorted, one value a line, so that a difference can be reviewed.

    Raises:
        UsageError: if the place cannot be written to.
    """
    plain = {"kind": KIND, "schema": SCHEMA, **asdict(baseline)}
    for cell in plain["cells"].values():
        del cell["command"], cell["cpu_ms"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"a baseline needs a place to write to; '{path}': {error.strerror}: give another") from None


def load_baseline(path: Path, suite: str | None = None, options: str = "") -> Baseline:
    """The baseline in a file, of the suite that is asked for.

    Args:
        options: of `update-baseline`, for the way out.

    Raises:
        IncomparableError: if it is missing, torn, of another kind, suite or version than this program's, or not whole.
    """
    way_out = f'make one with: python -m bench update-baseline{options} --reason "..."'
    try:
        plain: Any = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse)
    except OSError as error:
        raise IncomparableError(
            f"there is no baseline to hold against; '{path}': {error.strerror}; {way_out}"
        ) from None
    except ValueError as error:
        raise IncomparableError(f"the baseline '{path}' is torn ({error}); restore it from git, or {way_out}") from None
    if not isinstance(plain, Mapping) or plain.get("kind") != KIND:
        raise IncomparableError(f"'{path}' is not a baseline of this program; {way_out}")
    if plain.get("schema") != SCHEMA:
        raise IncomparableError(
            f"the baseline '{path}' has schema {plain.get('schema')!r}, this program knows {SCHEMA}; use the program "
            f"that wrote it, or {way_out}"
        )
    if suite is not None and plain.get("suite") != suite:
        raise IncomparableError(f"the baseline '{path}' is of suite {plain.get('suite')!r}, not '{suite}'; {way_out}")
    try:
        cells = {name: _whole(name, Measured(**cell)) for name, cell in plain["cells"].items()}
        host = str(plain.get("host", ""))
        return Baseline(str(plain["suite"]), str(plain["env_id"]), cells, dict(plain["accepted"]), host)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IncomparableError(
            f"the baseline '{path}' is not whole ({error}); restore it from git, or {way_out}"
        ) from None


def _whole(name: str, cell: Measured) -> Measured:
    """The cell, if it holds words and finite numbers where they belong."""
    numbers = [*cell.work.values(), *(v for seeds in cell.quality.values() for v in seeds.values() if v is not None)]
    if not all(isinstance(v, int | float) for v in numbers) or not all(
        isinstance(s, str) for s in cell.status.values()
    ):
        raise ValueError(f"the cell '{name}' holds something that is not a number")
    return cell


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number that anything can be held against")
