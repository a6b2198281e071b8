"""Every mistake of an objective's declaration that shows without running it, all at once."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter
from typing import Any, get_args

from bench.common.errors import UsageError, suggest
from bench.contract.rule import Broken
from bench.core.declarations import DIVERGENCES, EnergyKind, Levels, Minimiser, ObjectiveInfo
from bench.plugins.registry import Plugin

LONGEST_LABEL = 18
_CHOICES = {"energy": EnergyKind, "minimiser": Minimiser, "levels": Levels}
_PLACES = ("data", "temperature", "sampler")


def check_declaration(plugin: Plugin, ref: str) -> str:
    """Holds an objective's declaration to what the rest of the program reads from it.

    Raises:
        Broken: with every mistake.
    """
    mistakes = list(_mistakes(plugin, plugin.info))
    if mistakes:
        raise Broken("; ".join(mistakes))
    return f"{plugin.info.family}, minimiser {plugin.info.minimiser}, {plugin.info.energy} energy"


def _mistakes(plugin: Plugin, info: ObjectiveInfo) -> Iterator[str]:
    known = set(plugin.parameters)
    for name, choices in _CHOICES.items():
        value = getattr(info, name)
        if value not in get_args(choices):
            yield f"{name} must be one of {', '.join(get_args(choices))}; got {value!r}"
    for name in ("family", "source"):
        if not getattr(info, name).strip():
            yield f"{name} must say something"
    if info.divergence and info.divergence not in DIVERGENCES:
        yield str(suggest("divergence", info.divergence, sorted(DIVERGENCES)))
    yield from _unknown("bias", info.bias or {}, known)
    yield from _unknown("proof", info.proof, known)
    for name, value in info.proof.items():
        if name in known and (refused := _refusal(plugin, name, value)):
            yield f"proof: {refused}"
    yield from _mistakes_of_label(info.label, plugin)
    yield from _mistakes_of_place(info, known)


def _unknown(what: str, given: Any, known: set[str]) -> Iterator[str]:
    for name in sorted(set(given) - known):
        yield f"{what} names '{name}', which is no hyper-parameter; known: {', '.join(sorted(known)) or 'none'}"


def _refusal(plugin: Plugin, name: str, value: Any) -> str:
    try:
        plugin.resolve(**{name: value})
    except UsageError as error:
        return str(error)
    return ""


def _mistakes_of_label(label: str, plugin: Plugin) -> Iterator[str]:
    named = {name for _, name, _, _ in Formatter().parse(label) if name}
    unknown = named - set(plugin.parameters)
    yield from _unknown("label", named, set(plugin.parameters))
    if not unknown:
        shown = label.format(**{name: plugin.parameters[name].default for name in named})
        if len(shown) > LONGEST_LABEL:
            yield f"label must have at most {LONGEST_LABEL} characters; got '{shown}' with {len(shown)}"


def _mistakes_of_place(info: ObjectiveInfo, known: set[str]) -> Iterator[str]:
    place = info.stationary
    if place is not None and not callable(place) and place not in _PLACES:
        yield f"stationary must be one of {', '.join(_PLACES)} or a function (x, **hyper) -> score; got {place!r}"
    if place is not None and info.minimiser in ("data", "smoothed"):
        yield f"stationary is for objectives without a minimiser; this one has '{info.minimiser}': drop one"
    if place == "temperature" and "temperature" not in known:
        yield "stationary at a temperature needs a hyper-parameter 'temperature'"
    if place == "sampler" and info.sampler is None:
        yield "stationary at the draws of its own sampler needs a sampler"
    if info.energy == "noise" and "sigma_max" not in known:
        yield "a noise-conditional energy needs a hyper-parameter 'sigma_max' beside 'sigma_min'"
