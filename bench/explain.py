"""Words about plug-ins and suites for `list` and `show`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import cast

from bench import load, spec
from bench.declare import plain
from bench.errors import UsageError, suggest

KINDS = ("objectives", "datasets", "metrics", "networks", "denoisers")


def listing(kind: str | None) -> str:
    """The names of one kind, or of all kinds, each with the first line of its documentation.

    Raises:
        UsageError: if there is no such kind.
    """
    if kind is not None and kind not in (*KINDS, "suites"):
        raise UsageError(f"there is nothing called '{kind}' to list; choose {', '.join(KINDS)} or suites")
    blocks = []
    for each in (kind,) if kind else (*KINDS, "suites"):
        lines = _suite_lines() if each == "suites" else _plugin_lines(cast(load.Kind, each))
        blocks.append("\n".join([f"{each}:", *lines]))
    return "\n\n".join(blocks)


def _plugin_lines(kind: load.Kind) -> list[str]:
    names = load.names(kind)
    width = max(map(len, names), default=0)
    return [f"  {name:{width}}  {_first_line(load.find(kind, name).target)}" for name in names]


def _suite_lines() -> list[str]:
    lines = []
    for name in spec.suite_names():
        parts = [suite["name"] for suite in spec.read_suite(name)]
        text = (spec.SUITES / f"{name}.toml").read_text()
        comment = text.splitlines()[0].lstrip("# ") if text.startswith("#") else f"includes {', '.join(parts)}"
        lines.append(f"  {name:12}  {comment}")
    return lines


def _first_line(target: object) -> str:
    return (inspect.getdoc(target) or "undocumented").splitlines()[0]


def explain(ref: str) -> str:
    """Everything that a plug-in or a suite declares about itself.

    Raises:
        UsageError: if nothing goes by that name.
    """
    name = load.split_reference(ref)[0]
    if name.endswith(".toml"):
        return Path(name).read_text().rstrip()
    kinds = [cast(load.Kind, k) for k in KINDS if name in load.names(cast(load.Kind, k))]
    if name.endswith(".py"):
        kinds = [_kind_of(ref)]
    parts = [_explain(load.find(kind, ref)) for kind in kinds]
    if name in spec.suite_names():
        parts.append(f"{name} (suite)\n\n{(spec.SUITES / f'{name}.toml').read_text().rstrip()}")
    if not parts:
        raise suggest("name", name, [n for k in KINDS for n in load.names(cast(load.Kind, k))] + spec.suite_names())
    return "\n\n".join(parts)


def _kind_of(ref: str) -> load.Kind:
    errors = []
    for kind in KINDS:
        try:
            return load.find(cast(load.Kind, kind), ref).kind
        except UsageError as error:
            errors.append(error)
    raise errors[0]


def _explain(plugin: load.Plugin) -> str:
    lines = [f"{plugin.name} ({plugin.kind.removesuffix('s')})", ""]
    for key, value in plain(plugin.info).items():
        if key == "downloads":
            lines += [f"  {'download':12} {each.url}  {each.checksum}" for each in value]
        elif key != "name" and value not in ("", None, {}):
            lines.append(f"  {key:12} {', '.join(sorted(value)) if isinstance(value, frozenset) else value}")
    values = plugin.resolve()
    for parameter in plugin.parameters.values():
        lines.append(f"  {parameter.name:12} = {values[parameter.name]!r}   in {parameter.space}")
    return "\n".join([*lines, "", inspect.getdoc(plugin.target) or "undocumented"])
