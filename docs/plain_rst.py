"""Plain text as reStructuredText: docstrings here hold formulas in Unicode, which markup must not eat."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sphinx.ext.napoleon import Config, GoogleDocstring

_CODE = re.compile(r"``?([^`]+)``?")
_SPECIAL = re.compile(r"[\\*|]|_(?!\w)")
_NAPOLEON = Config(napoleon_use_param=False, napoleon_use_rtype=False)


def escaped(text: str) -> str:
    """Text with its markup characters escaped, and `code` in the double backticks of reStructuredText."""
    parts, end = [], 0
    for found in _CODE.finditer(text):
        parts += [_SPECIAL.sub(r"\\\g<0>", text[end : found.start()]), _literal(text, found)]
        end = found.end()
    return "".join([*parts, _SPECIAL.sub(r"\\\g<0>", text[end:])])


def _literal(text: str, found: re.Match[str]) -> str:
    """Inline code, parted from a letter beside it by an escaped space, which is not shown."""
    before, after = text[: found.start()][-1:], text[found.end() :][:1]
    code = " ".join(found[1].split())
    left = r"\ " if before and not before.isspace() else ""
    right = r"\ " if after.isalnum() else ""
    return f"{left}``{code}``{right}"


def escape_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escapes the lines of a docstring in place, as autodoc asks for."""
    lines[:] = escaped("\n".join(lines)).split("\n")


def skip_tuple_fields(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Skips the fields of named tuples, whose own docstrings only count them; None leaves the choice to autodoc."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def docstring(text: str) -> str:
    """A docstring of Google's style as reStructuredText that may stand anywhere."""
    return str(GoogleDocstring(escaped(text).split("\n"), _NAPOLEON))


def heading(text: str, mark: str = "=") -> str:
    """A title with its underline."""
    shown = escaped(text)
    return f"{shown}\n{mark * len(shown)}"


def code_block(text: str) -> str:
    """Text as it is."""
    return ".. code-block:: text\n\n" + "\n".join(f"   {line}".rstrip() for line in text.splitlines())


def list_table(rows: Iterable[Sequence[str]], widths: str = "auto") -> str:
    """A table whose first row is its head; the cells are reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :align: left", f"   :widths: {widths}", ""]
    for row in rows:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}".rstrip() for k, cell in enumerate(row)]
    return "\n".join(lines)


def page(*blocks: str) -> str:
    """Blocks parted by empty lines; empty blocks are left out."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def write(path: Path, text: str) -> None:
    """Writes a page unless it is there already, so that an unchanged page is not built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def relative(path: Path, page_folder: Path) -> str:
    """A path as a page in that folder names it."""
    return os.path.relpath(path, page_folder)
