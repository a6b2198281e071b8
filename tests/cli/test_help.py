"""Help texts: complete, in one group each, and quick, because nothing heavy is imported for them."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli import commands, main
from bench.cli.options import Group

ROOT = Path(__file__).resolve().parents[2]
MODULES = main.command_modules()
HEAVY = ("torch", "numpy", "pandas", "matplotlib", "seaborn", "joblib", "scipy", "rich", "jinja2", "msgspec")
LIGHT_COMMANDS = [["--help"], ["run", "--help"], ["list"], ["list", "objectives"]]


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every parser by the words that lead to it."""
    waiting = [("", main.build_parser(MODULES))]
    while waiting:
        name, parser = waiting.pop()
        yield name, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += [(f"{name} {word}".strip(), sub) for word, sub in action.choices.items()]


def actions() -> Iterator[tuple[str, argparse.Action]]:
    for name, parser in parsers():
        for action in parser._actions:
            if name and not isinstance(action, argparse._HelpAction):
                yield f"{name} {'/'.join(action.option_strings) or action.dest}", action


def test_every_file_of_the_package_is_a_command_of_its_name() -> None:
    (folder,) = commands.__path__
    files = {path.stem.replace("_", "-") for path in Path(folder).glob("*.py")} - {"--init--"}
    assert files == MODULES.keys() == {name for name, _ in parsers() if name and " " not in name}


@pytest.mark.parametrize(("name", "action"), list(actions()))
def test_every_option_has_a_help_text_with_its_default(name: str, action: argparse.Action) -> None:
    assert action.help
    assert "(default: " in action.help or "(required)" in action.help
    assert ("(required)" in action.help) == (action.required or action.nargs == argparse.PARSER), name


@pytest.mark.parametrize(("name", "parser"), list(parsers()))
def test_every_help_text_can_be_formatted_and_is_a_sentence(name: str, parser: argparse.ArgumentParser) -> None:
    assert parser.format_help()
    assert (parser.description or "").endswith(".")


def test_the_help_of_the_program_lists_each_command_once_under_its_group() -> None:
    sections = main.build_parser(MODULES).format_help().split("\n\n")
    for group in Group:
        (section,) = (s for s in sections if s.startswith(f"{group}:"))
        members = [line.split()[0] for line in section.splitlines()[1:]]
        assert members == [name for name, module in MODULES.items() if group == module.GROUP]
        assert members


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS)
def test_help_and_listings_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from bench.cli.main import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout
