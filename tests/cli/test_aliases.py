"""Names that commands and options had before do what the present ones do, and no help text shows them."""

from __future__ import annotations

import argparse

import pytest

from bench.cli import main
from bench.cli.aliases import COMMANDS, OPTIONS, replace_old_names

MODULES = main.command_modules()
REQUIRED = {
    "plan": ("--suite", "smoke"),
    "run": ("--suite", "smoke"),
    "rulers": ("--dataset", "digits"),
    "accept": ("--reason", "a test"),
}
SPELLINGS = [
    *((old, ()) for old in COMMANDS),
    ("plan", ("--against", "somewhere")),
    ("plan", ("--against=somewhere",)),
    ("table", ("--page", "PAGE.md")),
    ("report", ("--paper", "folder")),
    ("run", ("--stack",)),
]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, argparse.Namespace]]:
    """What reached a command, in place of the commands' work."""
    found: list[tuple[str, argparse.Namespace]] = []
    for name, module in MODULES.items():
        monkeypatch.setattr(module, "run", lambda options, name=name: found.append((name, options)) or 0)
    return found


@pytest.mark.parametrize(("command", "options"), SPELLINGS)
def test_an_old_spelling_reaches_the_present_command(
    command: str, options: tuple[str, ...], called: list[tuple[str, argparse.Namespace]]
) -> None:
    assert main.main([command, *options, *REQUIRED.get(command, ())]) == 0
    ((name, _),) = called
    assert name == COMMANDS.get(command, command)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (("plan", "--suite", "smoke", "--against", "s"), ("compare_with", "s")),
        (("plan", "--suite", "smoke", "--against=s=t"), ("compare_with", "s=t")),
        (("table", "--page", "p.md"), ("update_page", "p.md")),
        (("report", "--paper", "f"), ("export", "f")),
        (("run", "--suite", "smoke", "--stack"), ("batch_seeds", "True")),
        (("gate", "--against", "main"), ("against", "main")),
    ],
)
def test_an_old_option_sets_the_present_one(
    arguments: tuple[str, ...], value: tuple[str, str], called: list[tuple[str, argparse.Namespace]]
) -> None:
    assert main.main(arguments) == 0
    ((_, options),) = called
    assert str(getattr(options, value[0])) == value[1]


def test_every_old_name_is_among_the_spellings_above_and_leads_to_a_command() -> None:
    assert {command for command, options in SPELLINGS if not options} == COMMANDS.keys()
    assert {(c, o) for c, old in OPTIONS.items() for o in old} <= {(c, o[0]) for c, o in SPELLINGS if o}
    assert set(COMMANDS.values()) | OPTIONS.keys() <= MODULES.keys()


def test_other_words_are_left_as_they_are() -> None:
    assert replace_old_names(["list", "gate"]) == ["list", "gate"]
    assert replace_old_names(["regression", "--against", "REF"]) == ["regression", "--against", "REF"]
    assert replace_old_names([]) == []


def test_help_shows_no_old_name() -> None:
    parser = main.build_parser(MODULES)
    (subparsers,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    listed = {line.split()[0] for line in parser.format_help().splitlines() if line.startswith("  ")}
    assert not listed & COMMANDS.keys()
    for command, options in OPTIONS.items():
        assert not set(subparsers.choices[command].format_help().split()) & options.keys()
