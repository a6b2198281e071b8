"""The suites that come with the project, as files: read without loading torch."""

from __future__ import annotations

import tomllib

from bench.common.paths import SUITES


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
    declared = tomllib.loads((SUITES / f"{name}.toml").read_text(encoding="utf-8"))
    version = declared.get("version") or suite_version(declared.get("base", ""))
    return int(version or 1)
