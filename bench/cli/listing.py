"""What `list` and `show` print. A listing reads source files only; a card imports its plug-in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.common import plugin_source, references
from bench.common.errors import UsageError, suggest
from bench.common.paths import SUITES
from bench.suites.files import suite_descriptions, suite_names

if TYPE_CHECKING:
    from bench.core.search_spaces import Space
    from bench.plugins.registry import Plugin

KINDS: tuple[plugin_source.Kind, ...] = tuple(plugin_source.FOLDERS)
CONVERGENCE = {
    "data": "the data distribution (minimiser: data)",
    "smoothed": "the data distribution convolved with the noise (minimiser: smoothed)",
    "none": "no declared distribution (minimiser: none)",
}
_POWERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_FIRST = ("family", "source", "note")  # of a declaration, in this order; the rest follow


def listing(kind: str | None) -> str:
    """The plug-ins of one kind or of all kinds and the suites, each with its first line of documentation.

    Raises:
        UsageError: if the kind is unknown, or a plug-in folder is missing or holds a file that cannot be parsed.
    """
    known = (*KINDS, "suites")
    if kind is not None and kind not in known:
        raise suggest("kind", kind, list(known))
    return "\n\n".join(_block(each) for each in known if kind in (None, each))


def _block(kind: str) -> str:
    rows = _suite_rows() if kind == "suites" else _plugin_rows(cast(plugin_source.Kind, kind))
    return "\n".join([f"{kind}:", *_aligned(rows)])


def _plugin_rows(kind: plugin_source.Kind) -> list[tuple[str, ...]]:
    found = plugin_source.summaries(kind)
    if kind == "objectives":
        return [(plugin.name, plugin.label, plugin.family, plugin.first_line) for plugin in found]
    return [(plugin.name, plugin.first_line) for plugin in found]


def _suite_rows() -> list[tuple[str, ...]]:
    """Names, and the first sentence of each description."""
    return [(name, text.partition(". ")[0]) for name, text in suite_descriptions().items()]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows indented, all but their last column padded to the same width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([f"{cell:{w}}" for cell, w in zip(row[:-1], widths, strict=False)] + [row[-1]] for row in rows)
    return ["  " + "  ".join(cells).rstrip() for cells in padded]


def explain_reference(ref: str) -> str:
    """Everything that a plug-in or a suite declares, as a card.

    Raises:
        UsageError: if there is no plug-in, suite or file of that name, or the file cannot be read or imported.
    """
    name = references.split_reference(ref)[0]
    if name.endswith(".toml"):
        return _read(Path(name))
    if name.endswith(".py"):
        return _card(_find_in_file(ref))
    from bench.plugins import registry

    cards = [_card(registry.find(kind, ref)) for kind in KINDS if name in plugin_source.names(kind)]
    if name in suite_names():
        cards.append(f"{name} (suite)\n\n{_read(SUITES / f'{name}.toml')}")
    if not cards:
        raise suggest("name", name, [n for kind in KINDS for n in plugin_source.names(kind)] + suite_names())
    return "\n\n".join(cards)


def _read(path: Path) -> str:
    try:
        return path.read_text().rstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read suite '{path}': {error}") from None


def _find_in_file(ref: str) -> Plugin:
    from bench.plugins import registry

    errors = []
    for kind in KINDS:
        try:
            return registry.find(kind, ref)
        except UsageError as error:
            errors.append(error)
    # "found none" of the other kinds says nothing about a file that declares two of one kind
    raise next((e for e in errors if "found none" not in str(e)), errors[0])


def _card(plugin: Plugin) -> str:
    values = plugin.resolve()
    documentation = inspect.getdoc(plugin.target) or "undocumented"
    parts = [f"{plugin.name} ({plugin.kind.removesuffix('s')})", "\n".join(_aligned(_facts(plugin, values)))]
    if plugin.parameters:
        rows = [("hyper-parameter", "default", "space", "unit")]
        rows += [(p.name, repr(p.default), _space(p.space), _unit(p.space)) for p in plugin.parameters.values()]
        parts.append("\n".join(_aligned(rows)))
    return "\n\n".join([*parts, documentation])


def _facts(plugin: Plugin, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    from bench.core.declarations import plain_declaration

    declared = plain_declaration(plugin.info)
    label = declared.pop("label", "")
    facts = [("name", str(declared.pop("name")))]
    first_line = (inspect.getdoc(plugin.target) or "undocumented").splitlines()[0]
    if plugin.kind == "objectives":
        facts += [("label", plugin_source.fill_label(label, values) or plugin.name), ("formula", first_line)]
        facts.append(("converges to", _convergence(declared.pop("minimiser"), declared.pop("bias"))))
    if plugin.given:
        facts.append(("given", _value(plugin.given)))
    for each in declared.pop("downloads", ()):
        facts.append(("download", f"{each.url}  {each.checksum}"))
    ordered = sorted(declared, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
    given = [(key, declared[key]) for key in ordered if declared[key] not in ("", None, {}, frozenset())]
    return facts + [(key.replace("_", " "), _value(value)) for key, value in given]


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
    from bench.core.search_spaces import Choice, Integer, Log

    if isinstance(space, Choice):
        return " | ".join(space.options)
    suffix = ", whole" if isinstance(space, Integer) else ", logarithmic" if isinstance(space, Log) else ""
    return f"[{space.low:g}, {space.high:g}]{suffix}"


def _unit(space: Space) -> str:
    from bench.core.search_spaces import StepSize

    return "local_scale²" if isinstance(space, StepSize) else ""
