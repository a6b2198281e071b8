"""What `list` and `show` print. A listing reads source files only; a card imports its plug-in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.common import data_paths, plugin_source, references
from bench.common.columns import aligned
from bench.common.errors import UsageError, suggest
from bench.common.paths import SUITES
from bench.suites.files import suite_descriptions, suite_names

if TYPE_CHECKING:
    from bench.plugins.registry import Plugin

KINDS: tuple[plugin_source.Kind, ...] = tuple(plugin_source.FOLDERS)


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
    return "\n".join([f"{kind}:", *aligned(rows)])


def _plugin_rows(kind: plugin_source.Kind) -> list[tuple[str, ...]]:
    found = plugin_source.summaries(kind)
    if kind == "objectives":
        return [(plugin.name, plugin.label, plugin.family, plugin.first_line) for plugin in found]
    return [(plugin.name, plugin.first_line) for plugin in found]


def _suite_rows() -> list[tuple[str, ...]]:
    """Names, and the first sentence of each description."""
    return [(name, text.partition(". ")[0]) for name, text in suite_descriptions().items()]


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

    if data_paths.names_data_path(name):
        return _card(registry.find("datasets", ref))
    cards = [_card(registry.find(kind, ref)) for kind in KINDS if name in plugin_source.names(kind)]
    if name in suite_names():
        cards.append(f"{name} (suite)\n\n{_read(SUITES / f'{name}.toml')}")
    if not cards:
        raise suggest("name", name, [n for kind in KINDS for n in plugin_source.names(kind)] + suite_names())
    return "\n\n".join(cards)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig").rstrip()
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
    from bench.plugins import card

    return card.as_text(card.card(plugin))
