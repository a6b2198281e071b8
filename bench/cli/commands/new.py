"""`new`: writes a commented plug-in or suite to start from."""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import re
from pathlib import Path

from bench.cli.options import Commands, Group, new_parser
from bench.common.errors import UsageError, suggest
from bench.common.exit_codes import GOOD
from bench.common.paths import TEMPLATES

GROUP = Group.PLUGINS
_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
_NEXT = {
    "suite": ("plan --suite {file}", "run --suite {file} --out {name}-results"),
    "objective": ("check {file}", "run --suite smoke --objective {file}"),
    "dataset": ("check {file}", "run --suite smoke --dataset {file}"),
}


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "new", "Write a commented objective, data set or suite to start from.")
    parser.add_argument("kind", metavar="|".join(sorted(_NEXT)), help="What to write (required).")
    parser.add_argument("name", metavar="NAME", help="Name of it, and of its file in this folder (required).")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if the kind is unknown, the name cannot be one, or the file exists.
    """
    kind, name = options.kind, options.name
    if kind not in _NEXT:
        raise suggest("kind", kind, sorted(_NEXT))
    path = Path(f"{name}.toml" if kind == "suite" else f"{name}.py")
    _check_name(name, path)
    text = (TEMPLATES / f"{kind}{path.suffix}").read_text(encoding="utf-8")
    text = text.replace(f"my_{kind}", name).replace("my_label", name[:16])
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"new overwrites no file; '{path}' exists: give another name, or delete it") from None
    commands = "".join(f"\n  ebm-bench {line.format(file=path, name=name)}" for line in _NEXT[kind])
    print(f"wrote {path}; next:{commands}")
    return GOOD


def _check_name(name: str, path: Path) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(
            f"a name has lower-case letters, digits and _, begins with a letter and is no word of Python; got '{name}'"
        )
    if path.suffix == ".py" and not path.exists() and importlib.util.find_spec(name) is not None:
        raise UsageError(f"a file must not hide a module that is installed; '{name}' is one: give another name")
