"""A plug-in's card: all that it declares, for `show` to print and for the documentation to render."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.common import plugin_source
from bench.common.columns import aligned
from bench.core.declarations import plain_declaration
from bench.core.search_spaces import Choice, Integer, Log, Sigma, Space, StepSize
from bench.plugins.registry import Plugin

CONVERGENCE = {
    "data": "the data distribution (minimiser: data)",
    "smoothed": "the data distribution convolved with the noise (minimiser: smoothed)",
    "none": "no declared distribution (minimiser: none)",
}
PARAMETER_HEADINGS = ("hyper-parameter", "default", "space", "unit")
_POWERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_FIRST = ("family", "source", "note")  # of a declaration, in this order; the rest follow


@dataclass(frozen=True)
class CardParameter:
    """A hyper-parameter in words; `unit` is empty where the signature declares none."""

    name: str
    default: str
    space: str
    unit: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Its row under `PARAMETER_HEADINGS`."""
        return self.name, self.default, self.space, self.unit


@dataclass(frozen=True)
class Card:
    """What a reader of a plug-in is shown.

    Attributes:
        kind: in the singular, such as "objective".
        first_line: of the docstring; of an objective, the formula.
        facts: what is declared, each with its heading, in the order in which it is shown.
        documentation: the whole docstring.
    """

    name: str
    kind: str
    first_line: str
    facts: tuple[tuple[str, str], ...]
    parameters: tuple[CardParameter, ...]
    documentation: str

    def fact(self, heading: str) -> str:
        """What stands under a heading; "" if the plug-in declares nothing of the kind."""
        return dict(self.facts).get(heading, "")


def card(plugin: Plugin) -> Card:
    """The card of a plug-in.

    Raises:
        UsageError: if the reference gave a hyper-parameter that the plug-in does not know, or outside its space.
    """
    documentation = inspect.getdoc(plugin.target) or "undocumented"
    first_line = documentation.splitlines()[0]
    return Card(
        name=plugin.name,
        kind=plugin.kind.removesuffix("s"),
        first_line=first_line,
        facts=tuple(_facts(plugin, plugin.resolve(), first_line)),
        parameters=tuple(
            CardParameter(p.name, repr(p.default), _space(p.space), _unit(p.space)) for p in plugin.parameters.values()
        ),
        documentation=documentation,
    )


def as_text(shown: Card) -> str:
    """A card as `show` prints it: heading, facts, hyper-parameters, documentation."""
    parts = [f"{shown.name} ({shown.kind})", "\n".join(aligned(shown.facts))]
    if shown.parameters:
        parts.append("\n".join(aligned([PARAMETER_HEADINGS, *(p.cells for p in shown.parameters)])))
    return "\n\n".join([*parts, shown.documentation])


def _facts(plugin: Plugin, values: Mapping[str, Any], first_line: str) -> Iterable[tuple[str, str]]:
    declared = plain_declaration(plugin.info)
    label = declared.pop("label", "")
    yield "name", str(declared.pop("name"))
    if plugin.kind == "objectives":
        yield "label", plugin_source.fill_label(label, values) or plugin.name
        yield "formula", first_line
        yield "converges to", _convergence(declared.pop("minimiser"), declared.pop("bias"))
    if plugin.given:
        yield "given", _value(plugin.given)
    for each in declared.pop("downloads", ()):
        yield "download", f"{each.url}  {each.checksum}"
    for key in sorted(declared, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST)):
        if declared[key] not in ("", None, {}, frozenset()):
            yield key.replace("_", " "), _value(declared[key])


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {item!r}" for key, item in value.items())
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else str(value)


def _convergence(minimiser: str, bias: Mapping[str, int] | None) -> str:
    """The declared distribution, and how the relative error of the expected gradient vanishes."""
    if bias is None:
        error = "gradient bias: no order declared"
    elif not bias:
        error = "gradient bias: none"
    elif all(power < 0 for power in bias.values()):
        error = f"gradient bias: falls as {', '.join(bias)} grows"
    else:
        orders = (f"{name}{'' if power == 1 else str(power).translate(_POWERS)}" for name, power in bias.items())
        error = f"gradient bias: O({' + '.join(orders)})"
    return f"{CONVERGENCE[minimiser]}; {error}"


def _space(space: Space) -> str:
    if isinstance(space, Choice):
        return " | ".join(space.options)
    suffix = ", whole" if isinstance(space, Integer) else ", logarithmic" if isinstance(space, Log) else ""
    return f"[{space.low:g}, {space.high:g}]{suffix}"


def _unit(space: Space) -> str:
    return {Sigma: "local_scale", StepSize: "local_scale²"}.get(type(space), "")
