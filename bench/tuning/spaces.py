"""Where `tune` looks for a learning rate and hyper-parameters, as Optuna's distributions."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from bench.common.run_spec import Value
from bench.core.search_spaces import SIGMA_UNITS, Choice, Integer, Log, Parameter, StepSize

AROUND = 8.0  # a search on a logarithmic scale goes as many times below and above the default
LEARNING_RATE = "lr"
EDGE = 0.05  # a choice within this share of a range's end is said to lie at its edge


def distribution(parameter: Parameter) -> BaseDistribution:
    """The declared space of a hyper-parameter; of a logarithmic one the part within `AROUND` times its default.

    A few trials find nothing in a space of four decades; what lies beyond is for a search with more of them.
    """
    space, default = parameter.space, parameter.default
    if isinstance(space, Choice):
        return CategoricalDistribution(space.options)
    low, high = space.low, space.high
    if isinstance(space, Integer):
        low, high = max(space.low, int(default / AROUND)), min(space.high, int(default * AROUND))
        low = max(low, 1) if space.low >= 1 else low
        return IntDistribution(int(low), int(max(low, high)), log=low >= 1)
    if isinstance(space, StepSize) and space.checked:
        high = min(high, 1.0)
    if isinstance(space, Log):
        return FloatDistribution(max(low, default / AROUND), min(high, default * AROUND), log=True)
    return FloatDistribution(low, high)


def distributions(parameters: Mapping[str, Parameter], default_rate: float) -> dict[str, BaseDistribution]:
    """Of every hyper-parameter that has a choice, and of the learning rate."""
    found = {name: distribution(each) for name, each in parameters.items() if name != SIGMA_UNITS.name}
    found = {name: each for name, each in found.items() if not each.single()}
    return {**found, LEARNING_RATE: FloatDistribution(default_rate / AROUND, default_rate * AROUND, log=True)}


def at_edge(searched: BaseDistribution, value: Value) -> str:
    """ "low" or "high" if a number lies within `EDGE` of that end of its range; "" elsewhere, and for words.

    Of two whole numbers either is an end, which says nothing.
    """
    import math

    if not isinstance(searched, FloatDistribution | IntDistribution) or not isinstance(value, int | float):
        return ""
    if isinstance(searched, IntDistribution) and searched.high - searched.low < 2:
        return ""
    low, high, at = float(searched.low), float(searched.high), float(value)
    if searched.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    share = (at - low) / (high - low)
    return "low" if share <= EDGE else "high" if share >= 1 - EDGE else ""


def in_words(searched: BaseDistribution) -> str:
    """A range as a table shows it: "[0.0005, 0.032] log", "ve | vp"."""
    if isinstance(searched, CategoricalDistribution):
        return " | ".join(map(str, searched.choices))
    assert isinstance(searched, FloatDistribution | IntDistribution)
    return f"[{searched.low:.4g}, {searched.high:.4g}]" + " log" * searched.log
