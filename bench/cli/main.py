"""The command line: builds the parser from the command modules, runs one, and returns its exit code."""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from bench.cli import commands
from bench.cli.aliases import replace_old_names
from bench.cli.options import Commands, Group
from bench.cli.supervised import supervised
from bench.common.errors import UsageError
from bench.common.exit_codes import FAILED, GOOD, INTERRUPTED, USAGE
from bench.common.git import current_commit
from bench.common.machine_faults import is_machine_fault

PROGRAM = "python -m bench"
DESCRIPTION = "Benchmark of training objectives for energy-based models."
_LONGEST = 2000  # characters of a line of an error
_UNDECODABLE = "an argument must be text in the encoding of the locale; got {}: use LC_ALL=C.UTF-8, or rename the file"
COMPLETION = 'Complete words in bash or zsh: eval "$(register-python-argcomplete ebm-bench)"'
# they call functions of plug-ins
SUPERVISED = ("audit", "check", "check-submission", "cost", "plan", "run", "show", "tune")
EXIT_CODES = """exit codes:
  0 success; 1 regression; 2 bad input; 3 some runs failed; 4 undecided or not measured; 130 interrupted"""


class Command(Protocol):
    """What a module in `bench/cli/commands` provides. It imports nothing heavy outside `run`."""

    GROUP: Group

    @staticmethod
    def add_parser(commands: Commands) -> None: ...

    @staticmethod
    def run(options: argparse.Namespace) -> int: ...


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that takes as long as all of `--help`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        try:
            version = metadata.version("ebm-bench")
        except metadata.PackageNotFoundError:
            version = "unknown: not installed"
        commit = current_commit()
        print(f"ebm-bench {version}" + (f", commit {commit[:10]}" if commit else ""))
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code.

    0 success, 1 regression, 2 bad input, 3 some runs failed, 4 undecided or not measured, 130 interrupted.

    Args:
        arguments: the words after the program's name; those of this process if None.

    Raises:
        SystemExit: if argparse refuses the arguments (2), or for `--help` (0).
    """
    os.environ["MPLBACKEND"] = "Agg"  # figures go to files; a notebook's own backend may not be importable here
    _print_in_any_locale()
    modules = command_modules()
    given = replace_old_names(sys.argv[1:] if arguments is None else arguments)
    return _coded(lambda: _obey(modules, given, supervise=arguments is None))


def _obey(modules: Mapping[str, Command], given: Sequence[str], *, supervise: bool) -> int:
    """Parses the words and runs the command, in a child if it calls plug-ins and this process is nobody's library."""
    parser = build_parser(modules)
    if "_ARGCOMPLETE" in os.environ:  # set by a shell that asks what might come next
        import argcomplete

        argcomplete.autocomplete(parser)
    options = parser.parse_args(_checked(given))
    command = modules[options.command]
    if supervise and options.command in SUPERVISED:
        limit = getattr(options, "time_limit", None)
        return supervised(options.command, lambda: _coded(lambda: _run(command, options)), limit)
    # thousands of rows are kept for as long as a command runs: to look for garbage among them often finds none
    gc.set_threshold(50_000, 20, 20)
    code = _run(command, options)
    sys.stdout.flush()
    return code


def _coded(action: Callable[[], int]) -> int:
    """The action's exit code, or that of what it raises, which is said in a line."""
    try:
        return action()
    except UsageError as error:
        print(f"bench: {_shortened(str(error))}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("bench: interrupted; run the same command again to continue", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader, such as `head`, has seen enough; without this Python complains once more as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    except MemoryError as error:
        print(f"bench: out of memory: {error}; free some, or ask for less at once", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"bench: {_in_words(error)}", file=sys.stderr)
        return FAILED if is_machine_fault(error) else USAGE


def _run(command: Command, options: argparse.Namespace) -> int:
    try:
        return command.run(options)
    except SystemExit as stop:
        raise UsageError(
            f"a plug-in must return or raise, not end the program; it called sys.exit({stop.code or 0})"
        ) from None


def _print_in_any_locale() -> None:
    """What an old locale has no letter for is printed as "?", and stops nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _checked(words: Sequence[str]) -> Sequence[str]:
    for word in words:
        if any("\ud800" <= character <= "\udfff" for character in word):
            raise UsageError(_UNDECODABLE.format(ascii(word)))
        if word.startswith("--") and word.endswith("=--"):  # argparse takes the value for the end of options
            raise UsageError(f"an option's value must not be --; got '{word}'")
    return words


def _shortened(text: str) -> str:
    """The text with the middle of lines left out that nobody would read to the end, such as a name of 5,000 letters."""
    lines = text.splitlines()
    return "\n".join(x if len(x) <= _LONGEST else f"{x[: _LONGEST // 2]} ... {x[-_LONGEST // 2 :]}" for x in lines)


def _in_words(error: OSError) -> str:
    place = f": '{error.filename}'" if error.filename is not None else ""
    said = f"{error.strerror or error}{place}"
    if is_machine_fault(error):
        return f"{said}; what was written before is kept: mend that and run the same command again"
    return f"{said}: choose a file or folder that can be read and written"


def command_modules() -> dict[str, Command]:
    """The command modules by command name, sorted."""
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    return {
        name.replace("_", "-"): cast(Command, importlib.import_module(f"{commands.__name__}.{name}")) for name in names
    }


def build_parser(modules: Mapping[str, Command]) -> argparse.ArgumentParser:
    """The parser of the whole command line; the chosen command's name ends up in `command`."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} COMMAND [options]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="Print the version and end (default: run a command)."
    )
    # the epilog lists the commands by group, which argparse cannot
    subparsers = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog=PROGRAM, help=argparse.SUPPRESS
    )
    for module in modules.values():
        module.add_parser(subparsers)
    summaries = {name: subparser.description or "" for name, subparser in subparsers.choices.items()}
    parser.epilog = "\n\n".join(
        [
            *_group_sections(modules, summaries),
            EXIT_CODES,
            f"Show the options of a command: {PROGRAM} COMMAND --help",
            COMPLETION,
        ]
    )
    return parser


def _group_sections(modules: Mapping[str, Command], summaries: Mapping[str, str]) -> list[str]:
    width = max(map(len, modules))
    sections = []
    for group in Group:
        members = [name for name, module in modules.items() if group == module.GROUP]
        sections.append("\n".join([f"{group}:", *(f"  {name:{width}}  {summaries[name]}" for name in members)]))
    return sections
