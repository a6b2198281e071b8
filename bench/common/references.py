"""References as a person writes them: "name[k=v]", "0-4,7", "a,b[k=v]"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.common.errors import UsageError
from bench.common.paths import expanded

POINTS = (".csv", ".npy", ".parquet")
_FILE = rf"(?:{'|'.join(map(re.escape, ('.py', *POINTS)))})"


def split_reference(ref: str) -> tuple[str, dict[str, Any]]:
    """('name', {'k': v}) from "name" or "name[k=v,...]"; a value is a Python literal, or else a word.

    Raises:
        UsageError: if the reference is not of that form.
    """
    # a folder's name may have brackets, too
    match = re.fullmatch(rf"(.+{_FILE}|[^\[\]]+)(?:\[(.*)\])?", ref.strip(), re.DOTALL)
    if not match:
        raise UsageError(f"a reference is 'name', 'name[k=v,...]' or 'path.py[k=v,...]'; got '{ref}'")
    name, inside = match.group(1).strip(), match.group(2)
    given: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in (inside or "").split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not (key and equals and value):
            raise UsageError(f"a parameter is written k=v; got '{item}' in '{ref}'")
        try:
            given[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            given[key] = value
    return name, given


MOST_SEEDS = 10_000
LARGEST_SEED = 2**31 - 1


def parse_seeds(text: str) -> tuple[int, ...]:
    """(0, 1, 2, 7) from "0-2,7".

    Raises:
        UsageError: if it is not of that form, a seed is too large, or there are too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,100})(?:-([0-9]{1,100}))?", part.strip())
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if high < low:
            raise UsageError(f"seeds are written like 0-4 or 0,2,5; got '{text}'")
        if high > LARGEST_SEED or high - low >= MOST_SEEDS - len(seeds):
            raise UsageError(f"at most {MOST_SEEDS} seeds, each at most {LARGEST_SEED}; got '{text}'")
        seeds.extend(range(low, high + 1))
    return tuple(dict.fromkeys(seeds))


def format_seeds(seeds: Iterable[int]) -> str:
    """ "0-2, 7" of 7, 0, 1, 2: what `parse_seeds` reads."""
    ranges: list[list[int]] = []
    for seed in sorted(seeds):
        if ranges and seed == ranges[-1][-1] + 1:
            ranges[-1][-1] = seed
        else:
            ranges.append([seed, seed])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def split_list(text: str) -> tuple[str, ...]:
    """("a[k=1,m=2]", "b") from "a[k=1,m=2],b": a comma inside brackets, or in the path of a file, does not split."""
    if _names_file(text):
        return (text.strip(),)
    items, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return tuple(item.strip() for item in items if item.strip())


def _names_file(text: str) -> bool:
    path = re.fullmatch(rf"(.+{_FILE})(?:\[[^\[\]]*\])?", text.strip(), re.DOTALL)
    return path is not None and expanded(Path(path[1])).is_file()
