"""What `check` has found of files of somebody's own, by what their code means: `run` marks rows that rest on others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.common import fingerprint
from bench.common.errors import UsageError
from bench.common.json_files import read_json, write_json
from bench.common.paths import PACKAGE, user_cache

RULES = PACKAGE / "contract" / "check.py"  # what a plug-in was held to; with other rules it is unchecked again
MOST = 1_000  # files remembered, the newest


def remember(path: Path, broken: Sequence[str]) -> None:
    """Keeps which rules a file breaks, none if it keeps all; a cache that cannot be written forgets it."""
    place = _place()
    with suppress(OSError):
        known = {**_known(place), _key(path): list(broken)}
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, dict(list(known.items())[-MOST:]))


def standing(path: Path) -> str:
    """ "" of a file that keeps all rules; else "unchecked", or "fails: " and the rules."""
    broken = _known(_place()).get(_key(path))
    if broken is None:
        return "unchecked"
    return f"fails: {', '.join(broken)}" if broken else ""


def _place() -> Path:
    return user_cache() / "ebm-bench" / "checks.json"


def _known(place: Path) -> dict[str, list[str]]:
    with suppress(OSError, UsageError):
        return read_json(place)
    return {}


def _key(path: Path) -> str:
    return fingerprint.digest(f"{fingerprint.code(path)} {fingerprint.code(RULES)}")
