"""The names under which tables, figures and pages show entries: short, and no two alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from string import Formatter

from bench.common.plugin_source import declared_label, fill_label
from bench.common.references import split_list
from bench.common.run_spec import RunSpec

EntryKey = tuple[str, str, str]
"""What tells two entries apart: the label by which an objective was asked for, where its file lies, and its role."""


def entry_key(spec: RunSpec) -> EntryKey:
    """What tells the entry of a run from others."""
    return spec.objective.label, spec.objective.ref, spec.role or "tuned" * spec.tuned


def entry_names(specs: Iterable[RunSpec]) -> dict[EntryKey, str]:
    """A name for each entry: its short label, with the hyper-parameters that are not at their defaults.

    Where several entries would have the same name, those of files of one's own add the file's name and the beginning of
    the hash of their code, the others the hyper-parameters that were given, be they the defaults. Files of one name and
    the same code are numbered.
    """
    entries = {entry_key(spec): spec for spec in specs}
    names = {key: _name(spec) for key, spec in entries.items()}
    times = Counter(names.values())
    names = {key: name if times[name] == 1 else _told_apart(name, entries[key]) for key, name in names.items()}
    alike: dict[str, list[EntryKey]] = {}
    for key in sorted(names):
        alike.setdefault(names[key], []).append(key)
    return {key: _numbered(name, alike[name].index(key)) for key, name in names.items()}


def _numbered(name: str, place: int) -> str:
    """The name, for all but the first of those that bear it with its number."""
    return f"{name} #{place + 1}" if place else name


def _name(spec: RunSpec) -> str:
    if spec.role:
        return spec.role
    return _settings_name(spec) + " (tuned)" * spec.tuned


def _settings_name(spec: RunSpec) -> str:
    about = spec.objective
    if about.short_label:
        return about.short_label + (f" [{about.settings}]" if about.settings else "")
    # rows of a version that knew no short labels
    label = "" if about.ref.endswith(".py") else declared_label("objectives", about.name)
    mentioned = {name for _, name, _, _ in Formatter().parse(label) if name}
    given = [item for item in split_list(about.given) if item.partition("=")[0] not in mentioned]
    return (fill_label(label, about.params) or about.name) + (f" [{', '.join(given)}]" if given else "")


def _told_apart(name: str, spec: RunSpec) -> str:
    about = spec.objective
    if about.ref.endswith(".py"):
        return f"{name} ({Path(about.ref).name}, {about.sha[:6]})"
    return f"{name} [{about.given.replace(',', ', ')}]" if about.given else name
