"""What a plug-in declares about itself."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from torch import Tensor

from bench.common.run_spec import Conditional, Value, told
from bench.common.statistics import Better, Scale, usual_scale

T = TypeVar("T", bound=Callable[..., Any])
EnergyKind = Literal["static", "noise"]
Levels = Literal["range", "intervals", "axes"]
Minimiser = Literal["data", "smoothed", "none"]
PLAIN = "a plain module: its seeds train one by one, and it is told no noise level"
NO_AXES = "takes one noise level an example, and the objective tells one a coordinate; use one of @network(axes=True)"
Stationary = Literal["data", "temperature", "sampler"] | Callable[..., Tensor]

# what a metric may need of the model: its draws, its objective's own estimate of log Z, and a range of noise levels
OF_MODEL = frozenset({"samples", "log_z", "noise_levels"})

# what `bench/audit/divergences.py` has by quadrature
DIVERGENCES = (
    "maximum likelihood",
    "diffusion contrastive",
    "anchored diffusion contrastive",
    "Fisher",
    "Stein",
    "smoothed Fisher",
    "dual Fisher",
    "level classification",
    "noise contrastive",
    "conditional noise contrastive",
    "probability flow",
    "pseudo-spherical",
    "f-divergence",
    "contrastive",
    "metropolis contrastive",
)


@dataclass(frozen=True)
class ObjectiveInfo:
    """What tables, filters and proofs need to know of an objective.

    Attributes:
        family: the group it is shown in, such as "contrastive divergence".
        energy: "static" is called energy(x); "noise" is called energy(x, sigma).
        minimiser: the law whose energy the loss is stationary at: the data's, the data's convolved with the noise,
            or none that can be named.
        control: a row that is known to be wrong and shown for that reason; its failures are not failures of a run.
        source: paper, authors, year.
        note: one sentence that a reader of its row must know.
        levels: which noise levels a noise-conditional energy is trained at: "range", `sigma_min` to `sigma_max`, or
            "intervals" if each of K = `levels` intervals between geometric levels trains the energy of its lower end,
            so that the largest is σmax (σmin/σmax)^(1/K); or "axes", a range for each coordinate of an example by
            itself: sigma is shaped as x.
        label: a short name for tables and figures, in which {steps} stands for the hyper-parameter of that name; the
            objective's name if empty.
        max_dim: the largest event dimension it can be used in.
        proof: hyper-parameters at which the declared minimiser holds to well within a tenth, such as a small
            step_size, where the defaults trade some of it for speed; `check` holds the objective to them.
        stationary: where the loss is known to be stationary although no law is its minimiser, for `check` to hold it
            to: "data", at the data's energy once `proof` turns off what moves it away; "temperature", at the data's
            energy times `temperature`; "sampler", at any energy under which the draws of its own sampler are the data;
            or a function (x, **hyper) -> (*batch, *event), the best energy's score at x for data from N(0, I).
        sampler: its own sampler (energy, x_like, rng, **hyper) -> draws shaped as x_like, where it has one: the energy
            is called as in training, and a step size is in squared units of x. Of a class it is the method `sample`.
        divergence: what the loss estimates, one of `DIVERGENCES`, where that is an integral
            that quadrature gives in one dimension; empty if not. `audit` compares the gradients.
        bias: how the relative error of the expected gradient against that of the divergence vanishes: {} if there is
            none, {"sigma": 2} for O(sigma²), {"steps": -1} if it falls as steps grow, None if nothing is promised.
        host_work: what a step has to do on the host, for which a GPU waits; empty if nothing.
    """

    name: str
    family: str
    energy: EnergyKind
    minimiser: Minimiser
    control: bool
    source: str
    note: str
    max_dim: int | None
    proof: Mapping[str, Value]
    stationary: Stationary | None = None
    sampler: Callable[..., Tensor] | None = None
    divergence: str = ""
    bias: Mapping[str, int] | None = field(default_factory=dict)
    label: str = ""
    levels: Levels = "range"
    host_work: str = ""

    @property
    def conditional(self) -> Conditional:
        """What its network is told: nothing, a noise level an example (True), or one a coordinate ("axes")."""
        return told(self.energy, self.levels)


def objective(
    *,
    family: str,
    source: str,
    label: str = "",
    energy: EnergyKind = "static",
    minimiser: Minimiser = "data",
    control: bool = False,
    note: str = "",
    max_dim: int | None = None,
    proof: Mapping[str, Value] | None = None,
    stationary: Stationary | None = None,
    sampler: Callable[..., Tensor] | None = None,
    divergence: str = "",
    bias: Mapping[str, int] | None = MappingProxyType({}),
    levels: Levels = "range",
    host_work: str = "",
) -> Callable[[T], T]:
    """Declares an objective: a function (energy, x, rng, *, ...) -> (*batch,), or a module with memory.

    The arguments are the attributes of `ObjectiveInfo`; the name is the function's, or the class's in snake case.
    """

    def declare(target: T) -> T:
        name = snake_case(target.__name__)
        own = sampler or (getattr(target, "sample", None) if inspect.isclass(target) else None)
        promised = None if bias is None else dict(bias)
        known = (name, family, energy, minimiser, control, source, note, max_dim, proof or {}, stationary, own)
        info = ObjectiveInfo(*known, divergence, promised, label, levels, host_work)
        target.__bench__ = info  # type: ignore[attr-defined]
        return target

    return declare


@dataclass(frozen=True)
class Download:
    """A file of a data set that does not come with the project: its address and its checksum, "md5:…" or "sha256:…"."""

    url: str
    checksum: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class DatasetInfo:
    """Where a data set is from; raise `version` whenever its numbers change.

    Attributes:
        downloads: the files that `data fetch` gets, for a data set that does not come with the project.
        manual_download: how to get them where they may not be fetched by a program.
        files: what it reads, each a path relative to its own file; their content becomes part of a cell's identity.
        fixed: whether every seed sees the same examples.
    """

    name: str
    source: str
    version: int
    downloads: tuple[Download, ...] = ()
    manual_download: str = ""
    files: tuple[str, ...] = ()
    fixed: bool = False

    @property
    def bundled(self) -> bool:
        """Whether nothing has to be fetched."""
        return not self.downloads and not self.manual_download


def dataset(
    *,
    source: str,
    version: int = 1,
    downloads: tuple[Download, ...] = (),
    manual_download: str = "",
    files: tuple[str, ...] = (),
    fixed: bool = False,
) -> Callable[[T], T]:
    """Declares a data set: a function (rng, *, ...) -> Data. The arguments are the attributes of `DatasetInfo`."""

    def declare(target: T) -> T:
        info = DatasetInfo(target.__name__, source, version, downloads, manual_download, tuple(files), fixed)
        target.__bench__ = info  # type: ignore[attr-defined]
        return target

    return declare


@dataclass(frozen=True)
class MetricInfo:
    """What a metric needs of a data set (`Data.provides`) or of the model (`OF_MODEL`), and how to read it.

    Attributes:
        scale: "ratio" where two values are compared by their ratio, which needs positive ones; "difference" where a
            value can be 0 or less, or is a logarithm already.
        dear: whether it takes more than half a second on the plane; a suite's "*" leaves it out, so it is asked for by
            name.
    """

    name: str
    needs: frozenset[str]
    unit: str
    better: Better
    version: int
    scale: Scale
    dear: bool = False


def metric(
    *,
    needs: set[str],
    unit: str,
    better: Better = "lower",
    version: int = 1,
    scale: Scale | None = None,
    dear: bool = False,
) -> Callable[[T], T]:
    """Declares a metric: a function (energy, samples, data, rng) -> Estimate, or several by name.

    Its values are compared by ratio where lower is better, else by difference, unless `scale` says otherwise.
    """

    def declare(target: T) -> T:
        usual = scale or usual_scale(better)
        info = MetricInfo(target.__name__, frozenset(needs), unit, better, version, usual, dear)
        target.__bench__ = info  # type: ignore[attr-defined]
        return target

    return declare


@dataclass(frozen=True)
class NetworkInfo:
    """An energy network and what its events must look like: "any" (flattened), or "image" for (C, H, W).

    Attributes:
        note: `PLAIN` for a module that declares nothing; else "".
        axes: whether conditional="axes" gives an energy(x, sigma) that takes a noise level for each coordinate, sigma
            shaped as x, and one an example, too.
    """

    name: str
    event: Literal["any", "image"]
    note: str = ""
    axes: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is a module that declares nothing, which is of one seed and told no noise level."""
        return self.note == PLAIN


def network(*, event: Literal["any", "image"] = "any", axes: bool = False) -> Callable[[T], T]:
    """Declares an energy network: a module class (event_shape, rng, conditional, *, ...).

    The arguments are the attributes of `NetworkInfo`.
    """

    def declare(target: T) -> T:
        target.__bench__ = NetworkInfo(snake_case(target.__name__), event, axes=axes)  # type: ignore[attr-defined]
        return target

    return declare


def plain_declaration(info: ObjectiveInfo | DatasetInfo | MetricInfo | NetworkInfo | DenoiserInfo) -> dict[str, Any]:
    """A declaration as plain values; a function is given by its name."""
    values = {f.name: getattr(info, f.name) for f in fields(info)}
    return {k: v.__name__.strip("_") if inspect.isfunction(v) else v for k, v in values.items()}


@dataclass(frozen=True)
class DenoiserInfo:
    """A way of removing noise that is no energy: what energies are measured against.

    Attributes:
        trunk: whether it is built on the suite's own network, told σ.
        package: what it needs that this project does not require, such as code of another licence; "" if nothing. Its
            runs are skipped where that is not installed.
    """

    name: str
    source: str
    trunk: bool = False
    package: str = ""

    @property
    def missing(self) -> str:
        """Why it cannot be run here, with the way out; "" if it can."""
        if not self.package or importlib.util.find_spec(self.package) is not None:
            return ""
        return f"{self.name} needs the package {self.package}, which is not installed; pip install {self.package}"


def denoiser(*, source: str, trunk: bool = False, package: str = "") -> Callable[[T], T]:
    """Declares a denoiser: a function (y, sigma, *, ...) -> images, y noisy images (n, C, H, W) with noise of sigma.

    It has at most one keyword-only parameter, whose value is chosen on validation images from its search space. A
    module class (event_shape, rng, *, ...), or with `trunk` (event_shape, rng, trunk, *, ...), is a network
    (y, sigma) -> estimate of the noise z in y = x + σz, which the suite trains. It is a score network, too: its score
    is -z/σ, by which ancestral sampling makes samples of it where a suite judges samples. It is trained at the levels
    that denoising is judged at, unless it has parameters `sigma_min` and `sigma_max`, in units of x; with `sigma_law`,
    `median` and `spread` their law may be log-normal, and `times` multiplies the suite's budget.
    """

    def declare(target: T) -> T:
        target.__bench__ = DenoiserInfo(snake_case(target.__name__), source, trunk, package)  # type: ignore[attr-defined]
        return target

    return declare


def snake_case(name: str) -> str:
    """ "my_name" of "MyName"."""
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
