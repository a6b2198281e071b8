"""Plain values as JSON that every reader understands, in files that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.common.errors import UsageError

_PLAIN = {str, int, bool, type(None)}


def to_plain(value: Any) -> Any:
    """The value in what JSON has. A number that is not finite becomes null, and `<key>_reason` beside it its name.

    Raises:
        TypeError: for what has no plain form.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        result = {}
        for key, item in value.items():
            if type(item) in _PLAIN:  # nearly all are
                result[str(key)] = item
                continue
            result[str(key)] = to_plain(item)
            reason = _not_finite(item)
            if reason:
                result[f"{key}_reason"] = reason
        return result
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if hasattr(value, "tolist"):  # arrays, tensors and their scalars, without importing their libraries
        return to_plain(value.tolist())
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(to_plain(item) for item in value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a row holds plain values only; got {type(value).__name__}: return numbers, words, lists, dicts")


def digest_json(value: Any) -> str:
    """16 hexadecimal digits that name a plain value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def parse_json(content: bytes) -> Any:
    """What `json.loads` gives, in a third of its time where the text is strict JSON.

    Raises:
        ValueError: if it is no JSON.
        RecursionError: if it is nested too deeply.
    """
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:  # the standard library reads a little more, and says where the fault is
        return json.loads(content.decode("utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        UsageError: if it is not a JSON object.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is not a regular file")
        value: dict[str, Any] = parse_json(path.read_bytes())
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not readable JSON ({error}); restore it, or delete its folder") from None
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Whole or not at all, whenever the process or the machine stops.

    Raises:
        OSError: if the file cannot be written, such as on a full disk; nothing is left of the attempt.
        TypeError: if the value is not plain.
    """
    write_whole(path, json.dumps(to_plain(value), indent=1, allow_nan=False).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, whenever the process or the machine stops.

    Raises:
        OSError: if the file cannot be written, such as on a full disk; nothing is left of the attempt.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # a name of its own: two threads may write the same file
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must reach the disk
    finally:
        os.close(folder)


def _not_finite(value: Any) -> str:
    if isinstance(value, Mapping):
        return ""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return next((reason for item in value if (reason := _not_finite(item))), "")
    return str(float(value)) if isinstance(value, float) and not math.isfinite(value) else ""
