"""Names that commands and options had before; they keep working and no help text lists them."""

from __future__ import annotations

from collections.abc import Sequence

COMMANDS = {
    "gate": "regression",
    "accept": "update-baseline",
    "rulers": "reference-metrics",
    "fid": "image-metrics",
}
OPTIONS = {
    "plan": {"--against": "--compare-with"},
    "table": {"--page": "--update-page"},
    "report": {"--paper": "--export"},
    "run": {"--stack": "--batch-seeds"},
}


def replace_old_names(arguments: Sequence[str]) -> list[str]:
    """The arguments with the present names of the command and of its options, `--option=value` included."""
    if not arguments:
        return []
    command, *rest = arguments
    return [COMMANDS.get(command, command), *(_present_name(command, argument) for argument in rest)]


def _present_name(command: str, argument: str) -> str:
    name, equals, value = argument.partition("=")
    return OPTIONS.get(command, {}).get(name, name) + equals + value
