"""The suites that come with the project, as files: read without loading torch."""

from __future__ import annotations

import tomllib
from typing import Any

from bench.common.paths import SUITES
from bench.common.plugin_source import names


def suite_names() -> list[str]:
    """The suites that come with the project, sorted."""
    return sorted(p.stem for p in SUITES.glob("*.toml"))


def suite_descriptions() -> dict[str, str]:
    """The comment that each suite's file begins with; of an include list, its parts."""
    found = {}
    for name in suite_names():
        text = (SUITES / f"{name}.toml").read_text(encoding="utf-8")
        comment = []
        for line in text.splitlines():
            if not line.startswith("#"):
                break
            comment.append(line.lstrip("# "))
        parts = tomllib.loads(text).get("include", ())
        found[name] = " ".join(comment) or f"Includes {', '.join(parts)}."
    return found


def suite_version(name: str) -> int | None:
    """The protocol version of a suite that comes with the project, its own or its base's; else None."""
    if name not in suite_names():
        return None
    return int(_declared(name, "version") or 1)


def every_objective(name: str) -> list[str]:
    """The objectives of a suite that comes with the project and lists all; none of one that chooses."""
    if name not in suite_names() or "*" not in (_declared(name, "objectives") or ()):
        return []
    return [each for each in names("objectives") if each not in (_declared(name, "exclude") or ())]


def _declared(name: str, key: str) -> Any:
    """What a suite's file says of a key, or its base's."""
    declared = tomllib.loads((SUITES / f"{name}.toml").read_text(encoding="utf-8"))
    base = declared.get("base", "")
    return declared[key] if key in declared else _declared(base, key) if base in suite_names() else None
