"""A planned run: everything that decides its numbers, and the identity that follows from it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from bench.common import fingerprint
from bench.common.errors import UsageError
from bench.common.json_files import to_plain

FULL_PRECISION = "float32"
PRECISIONS = (FULL_PRECISION, "tf32", "bfloat16")
DENOISER = "denoiser"  # the `kind` of what stands in a spec's objective if that is a denoiser and no objective
NOT_AN_ENERGY = "not an energy"  # the `family` of such a one if it is a network, which the suite trains

STATIC, CONDITIONAL, ACROSS = "static", "noise-conditional", "across the classes"

Conditional = bool | Literal["axes"]
Track = Literal["equal_steps", "equal_flops", "equal_seconds", "equal_time"]
BY_CLOCK = ("equal_seconds", "equal_time")  # tracks on which a machine decides how many steps a run takes
Sampler = Literal["own", "noise", "tempered", "data", "continued"]
Weights = Literal["last", "ema", "best"]
Split = Literal["test", "valid"]
Value = bool | int | float | str | None
"""A hyper-parameter's value."""
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**12)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]

# what only says how to find or supervise a run, or how its numbers are shown
ASIDE = (
    *("suite", "suite_version", "seed", "timeout_seconds", "skip"),
    *("reference", "primary", "ranked", "convergence_bound", "contrasts"),
    *("batch_seeds", "save_weights", "memory_gb", "contract", "other_network"),
)
LONGEST = 1e10  # seconds, three centuries: what stands for no limit, which JSON cannot say
# what decides the numbers in a plug-in's description
PLUGIN_IDENTITY = ("name", "params", "sha", "version", "content", "energy", "conditional", "sampler", "levels")


@dataclass(frozen=True, kw_only=True)
class PluginSpec:
    """A plug-in as a run uses it.

    Attributes:
        ref: its name, or the path of its file.
        name: what its file declares.
        label: how a suite or a person asked for it, "name[k=v]"; tells the entries of a suite apart.
        given: the parameters inside the label, "k=v".
        params: every hyper-parameter, defaults filled in.
        sha: the hash of its code.
    """

    name: str
    label: str
    ref: str = ""
    given: str = ""
    params: dict[str, Value] = field(default_factory=dict)
    sha: str = ""

    @property
    def entry(self) -> str:
        """The label; one from somebody's own file says so, since its name may be a known one."""
        return f"{self.label} ({Path(self.ref).name})" if self.ref.endswith(".py") else self.label


@dataclass(frozen=True, kw_only=True)
class ObjectiveSpec(PluginSpec):
    """An objective, or a denoiser in its place, with its declaration.

    Attributes:
        short_label: the declared short name, with the hyper-parameters that it mentions filled in: "CD-10".
        settings: the hyper-parameters that differ from their defaults and are not in `short_label`, "k=v, m=w".
        kind: `DENOISER` for a denoiser, else "".
    """

    short_label: str = ""
    settings: str = ""
    family: str = "other"
    energy: str = "static"
    minimiser: str = "none"
    control: bool = False
    source: str = ""
    note: str = ""
    max_dim: int | None = None
    proof: dict[str, Value] = field(default_factory=dict)
    stationary: str | None = None
    sampler: str | None = None
    divergence: str = ""
    bias: dict[str, int] | None = None
    levels: str = "range"
    kind: str = ""


def told(energy: str, levels: str) -> Conditional:
    """What a network is told for such an objective: nothing, a noise level an example (True), or one a coordinate."""
    return "axes" if levels == "axes" else energy == "noise"


def class_of(*objectives: ObjectiveSpec) -> str:
    """The class that energies trained by these are of; `ACROSS` if they are not of one."""
    found = {CONDITIONAL if objective.energy == "noise" else STATIC for objective in objectives}
    return ACROSS if len(found) > 1 else found.pop()


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(PluginSpec):
    """A data set; `content` is the hash of what it read from files, where it read any."""

    version: int = 1
    content: str | None = None


@dataclass(frozen=True, kw_only=True)
class NetworkSpec(PluginSpec):
    """A network.

    Attributes:
        conditional: whether it is called energy(x, sigma); "axes" if with a noise level for each coordinate.
        plain: whether it is a module that declares nothing, whose seeds train one by one.
    """

    conditional: Conditional = False
    plain: bool = False


@dataclass(frozen=True)
class OptimiserSpec:
    """Adam's settings, and how the learning rate starts and the weights are averaged.

    Attributes:
        warm_up: steps over which the learning rate rises to `lr`.
        ema: the decay of the weights' moving average; 1/(1 - ema) steps are its memory.
        warm_up_share, ema_share: both as shares of a run, in place of steps: under equal FLOPs, objectives take
            different numbers of steps, and a count is a different part of each run.
        clip: the largest norm of a gradient.
        accumulate: the equal parts of a batch whose gradients are added up before a step, so that a part's memory
            suffices; an objective sees one part at a time.
    """

    lr: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    warm_up: Annotated[int, msgspec.Meta(ge=0, le=10**12)] = 100
    ema: Share = 0.999
    warm_up_share: Share | None = None
    ema_share: Share | None = None
    clip: Positive | None = None
    accumulate: Count = 1


@dataclass(frozen=True)
class BudgetSpec:
    """How long a run trains: the one of steps, FLOPs and seconds that its track stops at; examples in a batch."""

    steps: Count = 2000
    batch: Count = 128
    flops: Positive | None = None
    seconds: Positive | None = None

    def times(self, factor: float) -> BudgetSpec:
        """So many times the steps, FLOPs and seconds, with the same batch."""
        return BudgetSpec(
            max(1, round(factor * self.steps)),
            self.batch,
            self.flops and factor * self.flops,
            self.seconds and factor * self.seconds,
        )


@dataclass(frozen=True)
class EvaluationSpec:
    """What is evaluated.

    Attributes:
        checkpoints: evaluations during training.
        samples: of the model, by each sampler.
        sampler_steps: of a long chain.
        samplers: what makes the samples, as `bench.evaluation.sampling` explains; empty for the default one.
        variants: of the weights.
        split: the data that metrics hold the model against; "valid" where settings are chosen by them.
        metrics: the hash of each metric's code, by its name.
    """

    checkpoints: Count = 10
    samples: Count = 2000
    sampler_steps: Count = 500
    samplers: tuple[Sampler, ...] = ()
    variants: tuple[Weights, ...] = ("last", "ema", "best")
    split: Split = "test"
    metrics: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ContrastSpec:
    """A question that a suite asks: is `entry` better than `reference` on average over its data sets?

    Attributes:
        name: how tables call it.
        entry, reference: as a suite lists them, or as `RunSpec.entry` calls them once it is planned.
        metric: what it compares, written as a suite's `primary`; "" for that.
        energies: the class of energies that the difference belongs to, `STATIC` or `CONDITIONAL`, or `ACROSS` if the
            two sides are not of one; the plan fills it in.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    entry: str
    reference: str = ""
    metric: str = ""
    energies: str = ""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One planned run. `cell_id` is the hash of what changes its numbers, seed aside.

    Attributes:
        harness: the hash of the code that trains and evaluates.
        skip: why the run cannot be made, or "".
        reference: the objective that the suite compares the others with, or "".
        primary: the metric that the suite ranks by; "" for the first of the usual ones.
        contrasts: the questions that the suite asks.
        ranked: whether the suite's tables rank its entries.
        convergence_bound: the KL divergence, in nats, that the reference fit must not exceed if a data set is to be
            ranked; None where the suite does not check.
        batch_seeds: whether the seeds of its cell train together where that is faster.
        save_weights: whether the run leaves its trained weights beside its row.
        timeout_seconds: how long it may take; infinity becomes `LONGEST`.
        memory_gb: how many GB it may use with all that it starts; None for a share of the machine.
        tuned: whether learning rate and hyper-parameters are those that `tune` chose for the data set.
        contract: what is known of each file of somebody's own that is not shown to keep it, "x.py: unchecked".
        role: "" for an entry; the name of a reference fit, which is shown and never ranked.
        other_network: whether the network is not its suite's but one that was asked for in its place.
    """

    suite: str
    objective: ObjectiveSpec
    dataset: DatasetSpec
    network: NetworkSpec
    seed: int
    suite_version: int | None = None
    track: Track = "equal_steps"
    optimiser: OptimiserSpec = field(default_factory=OptimiserSpec)
    budget: BudgetSpec = field(default_factory=BudgetSpec)
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    harness: str = ""
    device: str = "cpu"
    timeout_seconds: Positive = 900.0
    skip: str = ""
    reference: str = ""
    primary: str = ""
    ranked: bool = True
    convergence_bound: Positive | None = None
    role: str = ""
    tuned: bool = False
    batch_seeds: bool = False
    save_weights: bool = False
    memory_gb: Positive | None = None
    precision: str = FULL_PRECISION
    contrasts: tuple[ContrastSpec, ...] = ()
    contract: tuple[str, ...] = ()
    other_network: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "timeout_seconds", min(float(self.timeout_seconds), LONGEST))

    @property
    def cell_id(self) -> str:
        """sha256 of the canonical spec, without what only says how to find, supervise or show it; 16 digits."""
        plain = {k: v for k, v in self.to_dict().items() if k not in ASIDE}
        for part in ("objective", "dataset", "network"):
            plain[part] = {k: v for k, v in plain[part].items() if k in PLUGIN_IDENTITY}
        return fingerprint.digest(json.dumps(plain, sort_keys=True))

    @property
    def stack_id(self) -> str:
        """What runs share that may train as one stack: all but the seed and the learning rate."""
        return replace(self, optimiser=replace(self.optimiser, lr=1.0)).cell_id

    @property
    def limit(self) -> float:
        """The steps, FLOPs or seconds at which its track stops; a time is given by the FLOPs of passes that fill it."""
        limits = {
            "equal_steps": self.budget.steps,
            "equal_flops": self.budget.flops,
            "equal_seconds": self.budget.seconds,
            "equal_time": self.budget.flops,
        }
        return float(limits[self.track] or 0.0)

    @property
    def control(self) -> bool:
        """Whether its objective is known to be wrong and shown for that reason."""
        return self.objective.control

    @property
    def reference_fit(self) -> bool:
        """Whether it shows what the network can hold, at a budget of its own, and competes with nobody."""
        return bool(self.role)

    @property
    def unranked(self) -> bool:
        """Whether it competes with nobody: a control, or a reference fit."""
        return self.control or self.reference_fit

    @property
    def classical(self) -> bool:
        """Whether a denoiser stands in the objective's place, classical or trained: judged as one, never ranked."""
        return self.objective.kind == DENOISER

    @property
    def trained_field(self) -> bool:
        """Whether it is a network that was trained to denoise, and is no energy."""
        return self.classical and self.objective.family == NOT_AN_ENERGY

    @property
    def energies(self) -> str:
        """The class of its energy: `STATIC`, called energy(x), or `CONDITIONAL`, called energy(x, sigma)."""
        return class_of(self.objective)

    @property
    def entry(self) -> str:
        """The objective's label; one from somebody's own file says so, since its name may be a known one."""
        return self.objective.entry

    @property
    def place(self) -> str:
        """Where it trains, in what precision unless float32, and what unless its suite's network: "cuda, bfloat16"."""
        precision = self.precision if self.precision != FULL_PRECISION else ""
        network = self.network.label if self.other_network else ""
        return ", ".join(filter(None, [self.device, precision, network]))

    @property
    def command(self) -> str:
        """What makes the runs of its suite again, all of them."""
        precision = "" if self.precision == FULL_PRECISION else f" --precision {self.precision}"
        asked = self.network.ref + f"[{self.network.given}]" * bool(self.network.given)
        network = f" --network {shlex.quote(asked)}" if self.other_network else ""
        return f"python -m bench run --suite {self.suite}{network}{precision}"

    def to_dict(self) -> dict[str, Any]:
        """All fields in plain values, as JSON has them."""
        plain: dict[str, Any] = to_plain(msgspec.to_builtins(self))
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RunSpec:
        """The spec that `to_dict` gave; other keys are ignored.

        Raises:
            UsageError: if a value is not of its type.
        """
        try:
            return msgspec.convert(plain, cls)
        except msgspec.ValidationError as error:
            raise UsageError(f"a run's specification cannot be read: {error}; is it of another version?") from None


class SpecReader:
    """Reads many specs that have most of their parts in common, and makes each part once."""

    def __init__(self) -> None:
        self._types: dict[str, Any] = get_type_hints(RunSpec, include_extras=True)
        self._parts: dict[tuple[str, bytes], Any] = {}
        self._entry = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def read(self, runs: bytes) -> Iterator[tuple[str, RunSpec]]:
        """The cell's id and the spec of each entry of a JSON list of objects; other keys are ignored.

        Raises:
            UsageError: if a value is not of its type.
        """
        try:
            for each in msgspec.json.decode(runs, type=list[msgspec.Raw]):  # one after the other: less room
                entry = self._entry.decode(each)
                cell_id = msgspec.json.decode(entry["cell_id"], type=str)
                yield cell_id, RunSpec(**{k: self._part(k, bytes(v)) for k, v in entry.items() if k in self._types})
        except (msgspec.ValidationError, TypeError, KeyError) as error:
            raise UsageError(f"a run's specification cannot be read: {error}; is it of another version?") from None

    def _part(self, name: str, raw: bytes) -> Any:
        key = name, raw
        if key not in self._parts:
            self._parts[key] = msgspec.json.decode(raw, type=self._types[name])
        return self._parts[key]
