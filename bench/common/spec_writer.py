"""Plain values and identities of many planned runs at once."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bench.common.json_files import to_plain
from bench.common.run_spec import ASIDE, RunSpec

_PLAIN_WORD = re.compile(r"[\w.,: -]*", re.ASCII)  # JSON writes it as it is
_SIMPLE = (str, int, float, bool, type(None))


class SpecWriter:
    """Plain values and cells of many specs that have most of their parts in common; each part is made once."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[Any, Any]] = {}  # the part, which keeps its id, and its plain values
        self._cells: dict[tuple[Any, ...], str] = {}
        self._texts: dict[int, str] = {}

    def to_dict(self, spec: RunSpec) -> dict[str, Any]:
        """What `spec.to_dict()` gives; parts are shared between specs and must not be changed."""
        values = vars(spec)
        if not _is_finite(values):
            return spec.to_dict()
        return {name: value if type(value) in _SIMPLE else self._plain(value) for name, value in values.items()}

    def digest(self, planned: Iterable[tuple[str, RunSpec]]) -> str:
        """What `digest_json` gives of a list of {"cell_id": ..., "spec": ...}."""
        whole = hashlib.sha256(b"[")
        for k, (cell_id, spec) in enumerate(planned):
            text = f'{", " * (k > 0)}{{"cell_id": {_simple_text(cell_id)}, "spec": {self._json(spec)}}}'
            whole.update(text.encode())
        whole.update(b"]")
        return whole.hexdigest()[:16]

    def _json(self, spec: RunSpec) -> str:
        """`to_dict` as JSON with sorted keys."""
        values = vars(spec)
        if not _is_finite(values):
            return json.dumps(spec.to_dict(), sort_keys=True, allow_nan=False)
        return "{" + ", ".join(f'"{name}": {self._text(values[name])}' for name in sorted(values)) + "}"

    def _text(self, value: Any) -> str:
        if type(value) in _SIMPLE:
            return _simple_text(value)
        key = self._known(value)
        if key not in self._texts:
            self._texts[key] = json.dumps(self._plain(value), sort_keys=True, allow_nan=False)
        return self._texts[key]

    def cell_id(self, spec: RunSpec) -> str:
        """What `spec.cell_id` gives."""
        if not _is_finite(vars(spec)):
            return spec.cell_id
        key = tuple(
            (type(value), value) if type(value) in _SIMPLE else self._known(value)
            for name, value in vars(spec).items()
            if name not in ASIDE
        )
        if key not in self._cells:
            self._cells[key] = spec.cell_id
        return self._cells[key]

    def _known(self, part: Any) -> int:
        self._parts.setdefault(id(part), (part, None))
        return id(part)

    def _plain(self, part: Any) -> Any:
        _, plain = self._parts.get(id(part), (part, None))
        if plain is None:
            plain = to_plain(msgspec.to_builtins(part))
            self._parts[id(part)] = part, plain
        return plain


def _simple_text(value: Any) -> str:
    return f'"{value}"' if type(value) is str and _PLAIN_WORD.fullmatch(value) else json.dumps(value)


def _is_finite(values: Mapping[str, Any]) -> bool:
    return not any(isinstance(value, float) and not math.isfinite(value) for value in values.values())
