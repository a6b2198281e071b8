"""Search spaces: where a hyper-parameter may lie. They annotate the parameter that they bound."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.common.errors import UsageError


@dataclass(frozen=True)
class Linear:
    """A real number low <= value <= high, searched evenly."""

    low: float
    high: float

    def parse(self, value: Any) -> float:
        """The value as a float.

        Raises:
            UsageError: if it is no number, or out of range.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"must be a number in [{self.low:g}, {self.high:g}]; got {value!r}")
        if not self.low <= value <= self.high:
            raise UsageError(f"must lie in [{self.low:g}, {self.high:g}]; got {value:g}")
        return float(value)


@dataclass(frozen=True)
class Log(Linear):
    """A real number 0 < low <= value <= high, searched evenly in its logarithm."""


@dataclass(frozen=True)
class StepSize(Log):
    """A Langevin step in units of the data's smallest local variance, `local_scale` squared.

    With steps of size ε an unadjusted chain on a Gaussian of variance v is stationary at v / (1 - ε/4v), so no
    energy reproduces data of local variance v unless ε <= v. Hence a checked step above 1 is refused and one above
    .4 is warned about. `checked=False` marks tempered chains and short runs from noise, which do not sample
    exp(-E) in the first place.
    """

    checked: bool = True


@dataclass(frozen=True)
class Sigma(Log):
    """A noise level, or another length, in units of `local_scale`: one default serves data of every width.

    `local_scale` is the data's standard deviation in their narrowest local direction: noise of one local scale doubles
    that variance. Every objective with such a length has a parameter `sigma_units`; "data" gives them in units of x.
    """


@dataclass(frozen=True)
class Integer:
    """A whole number low <= value <= high."""

    low: int
    high: int

    def parse(self, value: Any) -> int:
        """The value as an int.

        Raises:
            UsageError: if it is not whole, or out of range.
        """
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise UsageError(f"must be a whole number in [{self.low}, {self.high}]; got {value!r}")
        if not self.low <= value <= self.high:
            raise UsageError(f"must lie in [{self.low}, {self.high}]; got {int(value)}")
        return int(value)


@dataclass(frozen=True, init=False)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    def __init__(self, *options: str) -> None:
        object.__setattr__(self, "options", options)

    def parse(self, value: Any) -> str:
        """The value itself.

        Raises:
            UsageError: if it is none of the options.
        """
        if value not in self.options:
            raise UsageError(f"must be one of {', '.join(self.options)}; got {value!r}")
        return str(value)


Space = Linear | Integer | Choice


@dataclass(frozen=True)
class Parameter:
    """A hyper-parameter: its search space and its default."""

    name: str
    space: Space
    default: Any


SIGMA_UNITS = Parameter("sigma_units", Choice("local_scale", "data"), "local_scale")


def in_units_of_data(known: dict[str, Parameter], values: dict[str, Any], local_scale: float) -> dict[str, Any]:
    """The hyper-parameters as the objective's code takes them: steps and lengths in units of x, and no `sigma_units`.

    Args:
        known: the objective's parameters.
        values: a value of each.
        local_scale: what a `Sigma` is multiplied by, and a `StepSize` by its square.
    """
    length = 1.0 if values.get(SIGMA_UNITS.name) == "data" else local_scale
    factors = {Sigma: length, StepSize: local_scale**2}
    return {
        name: value * factors[type(known[name].space)] if type(known[name].space) in factors else value
        for name, value in values.items()
        if name != SIGMA_UNITS.name
    }


def parameters(target: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword-only parameters of a function or class, read from its signature.

    Raises:
        UsageError: if one lacks a search space or a default, or its default lies outside its space.
    """
    function = target.__init__ if inspect.isclass(target) else target
    own = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    hints = _hints(function, own)
    found: dict[str, Parameter] = {}
    for name, parameter in own.items():
        spaces = [m for m in getattr(hints.get(name), "__metadata__", ()) if isinstance(m, Space)]
        if not spaces or parameter.default is inspect.Parameter.empty:
            raise UsageError(
                f"{target.__name__}: parameter '{name}' needs a search space and a default; write "
                f"'{name}: Annotated[float, Log(low, high)] = value'"
            )
        found[name] = Parameter(name, spaces[0], parse(target.__name__, name, spaces[0], parameter.default))
    if any(isinstance(each.space, Sigma) for each in found.values()):
        found[SIGMA_UNITS.name] = SIGMA_UNITS
    return found


def _hints(function: Callable[..., Any], own: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """The annotations of hyper-parameters; those of others may name what is imported for type checkers alone."""
    holder = types.SimpleNamespace(__annotations__={name: p.annotation for name, p in own.items()})
    try:
        return typing.get_type_hints(holder, vars(inspect.getmodule(function)), include_extras=True)
    except (NameError, SyntaxError, TypeError) as error:
        raise UsageError(
            f"{function.__qualname__}: the annotations of its hyper-parameters must be known when it runs ({error}); "
            "import what they name outside of `if TYPE_CHECKING:`"
        ) from None


def parse(owner: str, name: str, space: Space, value: Any) -> Any:
    """`space.parse(value)`, with the owner and the parameter named in the error."""
    try:
        return space.parse(value)
    except UsageError as error:
        raise UsageError(f"{owner}: {name} {error}") from None


def resolve(owner: str, known: dict[str, Parameter], given: dict[str, Any]) -> dict[str, Any]:
    """Every parameter's value, given or default.

    Raises:
        UsageError: if a name is unknown or a value lies outside its space.
    """
    for name in given:
        if name not in known:
            raise UsageError(f"{owner}: no parameter '{name}'; it has {', '.join(known) or 'none'}")
    return {name: parse(owner, name, p.space, given[name]) if name in given else p.default for name, p in known.items()}
