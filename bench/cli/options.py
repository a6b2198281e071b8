"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bench.common import plugin_source
from bench.common.errors import Faults, UsageError
from bench.common.paths import BASELINE, USERS_BASELINE, default_store, results_folder
from bench.common.references import parse_seeds, split_list
from bench.data import data_dir
from bench.suites.files import suite_names

if TYPE_CHECKING:
    from bench.common.run_spec import RunSpec
    from bench.suites.expand import Selection

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
OBJECTIVES = "A,B[k=v],FILE.py"
MOST_JOBS = 1024
PRECISIONS = "float32|tf32|bfloat16"
TRACKERS = ("tensorboard", "mlflow", "wandb")


class Group(StrEnum):
    """The headings under which `--help` lists commands, in its order."""

    TRAIN = "train and inspect"
    RESULTS = "results"
    PLUGINS = "plug-ins"
    MEASUREMENT = "measurement"
    CI = "continuous integration"


def new_parser(commands: Commands, name: str, summary: str) -> argparse.ArgumentParser:
    """The parser of one command, with its summary in both help texts."""
    return commands.add_parser(name, help=summary, description=summary)


def completed(action: argparse.Action, known: Callable[[], Iterable[str]]) -> None:
    """Lets a shell complete an option's value with these names, or with a file's."""

    def candidates(prefix: str, **_: object) -> list[str]:
        from argcomplete.completers import FilesCompleter

        return [*(name for name in known() if name.startswith(prefix)), *FilesCompleter()(prefix)]

    action.completer = candidates  # type: ignore[attr-defined]


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `planned_runs` reads."""
    suite = parser.add_argument("--suite", required=True, metavar="NAME|FILE.toml", help="Suite to use (required).")
    completed(suite, suite_names)
    add_objective(parser, "those of the suite")
    dataset = parser.add_argument(
        "--dataset", action="append", metavar="A,B", help="Use these data sets only (default: those of the suite)."
    )
    completed(dataset, partial(plugin_source.names, "datasets"))
    parser.add_argument(
        "--seed", action="append", metavar="0-4,7", help="Use these seeds only (default: those of the suite)."
    )
    parser.add_argument(
        "--network", metavar="NAME|FILE.py", help="Train this network, at its defaults (default: that of the suite)."
    )
    add_device(parser)
    add_jobs(parser, "one per core, or per GPU")
    parser.add_argument(
        "--precision", metavar=PRECISIONS, help="Train in this precision (default: that of the suite, usually float32)."
    )
    add_data_dir(parser)


def add_gated(parser: argparse.ArgumentParser) -> None:
    """Adds --suite, which says what a gate measures."""
    suite = parser.add_argument(
        "--suite", default="gate", metavar="NAME|FILE.toml", help="Suite to measure (default: the project's own gate)."
    )
    completed(suite, suite_names)


def baseline_of(options: argparse.Namespace) -> Path:
    """The value of --baseline; where it is not given, the project's own or one in the working directory."""
    given: Path | None = options.baseline
    return given or (BASELINE if options.suite == "gate" else USERS_BASELINE)


def add_tuned(parser: argparse.ArgumentParser) -> None:
    """Adds --tuned, which `planned_runs` reads."""
    parser.add_argument(
        "--tuned",
        type=Path,
        metavar="FILE.csv",
        help="Use the settings that `tune` wrote here (default: those of the suite).",
    )


def add_objective(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --objective, which `joined` reads."""
    objective = parser.add_argument(
        "--objective", action="append", metavar=OBJECTIVES, help=f"Use these objectives only (default: {default})."
    )
    completed(objective, partial(plugin_source.names, "objectives"))


def add_store(parser: argparse.ArgumentParser) -> None:
    """Adds the store as an argument that may be left out."""
    parser.add_argument(
        "store",
        nargs="?",
        type=Path,
        default=default_store(),
        metavar="STORE",
        help="Folder that `run` wrote into (default: %(default)s).",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds --device."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda|cuda:N",
        help="Device to compute on; cuda uses every visible GPU, cuda:1 the second alone; auto uses CUDA if available "
        "(default: %(default)s).",
    )


def add_jobs(parser: argparse.ArgumentParser, default: str = "one per core") -> None:
    """Adds --jobs, which `job_count` reads."""
    parser.add_argument("--jobs", type=int, metavar="N", help=f"Processes to run in parallel (default: {default}).")


def add_time_limit(parser: argparse.ArgumentParser, default: float) -> None:
    """Adds --time-limit, which ends a command that a plug-in keeps from ending."""
    parser.add_argument(
        "--time-limit",
        type=_positive,
        default=default,
        metavar="SECONDS",
        help="End the command after this time, and say where it was (default: %(default)g).",
    )


def _positive(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"it must be a positive number of seconds; got {text}")
    return seconds


def add_history(parser: argparse.ArgumentParser) -> None:
    """Adds --history."""
    parser.add_argument(
        "--history",
        type=Path,
        default=results_folder() / "history.jsonl",
        metavar="FILE.jsonl",
        help="Measurements of gated commits (default: %(default)s).",
    )


def add_inception(parser: argparse.ArgumentParser) -> None:
    """Adds --inception."""
    parser.add_argument(
        "--inception",
        type=Path,
        metavar="FILE.pth",
        help="Use the features of this Inception network (default: the extractor of the data set).",
    )


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Adds --data-dir, which `use_data_dir` applies."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"Folder of downloaded data sets (default: ${data_dir.ENVIRONMENT}, else the user's cache).",
    )


def use_data_dir(options: argparse.Namespace, *, must_exist: bool = True) -> None:
    """Applies --data-dir to this process and to those that it starts.

    Raises:
        UsageError: if the folder must exist and does not.
    """
    if options.data_dir is not None:
        data_dir.use_data_dir(options.data_dir, must_exist=must_exist)


def job_count(options: argparse.Namespace) -> int | None:
    """The value of --jobs, None if it is not given.

    Raises:
        UsageError: if it is less than 1, or more than any machine has cores.
    """
    jobs: int | None = options.jobs
    if jobs is not None and jobs > MOST_JOBS:
        raise UsageError(f"--jobs must be at most {MOST_JOBS}; got {jobs}")
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs must be at least 1; got {jobs}")
    return jobs


def joined(values: Sequence[str] | None) -> tuple[str, ...] | None:
    """The references in all uses of an option, None if it is not given."""
    return None if values is None else tuple(item for value in values for item in split_list(value))


def planned_runs(options: argparse.Namespace) -> list[RunSpec]:
    """The runs that --suite and its filters select.

    Raises:
        UsageError: if a value of an option is invalid, or nothing is selected.
    """
    from bench.plugins import builders
    from bench.suites import expand, schema, tuned

    faults, seeds, settings = Faults(), None, None
    path: Path | None = getattr(options, "tuned", None)
    with faults.noted():
        use_data_dir(options)
    with faults.noted():
        job_count(options)  # a mistake in it is reported before any work starts
    with faults.noted():
        seeds = None if options.seed is None else parse_seeds(",".join(options.seed))
    with faults.noted():
        device = str(builders.pick_device(options.device))
    with faults.noted():
        settings = None if path is None else tuned.read_tuned(path)
    with faults.noted():
        suites = schema.read_suite(options.suite)
    faults.refuse()
    selection = expand.Selection(joined(options.objective), joined(options.dataset), seeds, options.network)
    try:
        specs = expand.plan_runs(suites, selection, device, options.precision)
    except UsageError:
        for part in _parts(selection):
            with faults.noted():
                expand.plan_runs(suites, part, device, options.precision)
        faults.refuse()
        raise
    since = {suite.name: suite.tuned_since for suite in suites if suite.tuned_since}
    return specs if settings is None else tuned.with_tuned(specs, settings, str(path), since)


def _parts(selection: Selection) -> Iterator[Selection]:
    """What the command line names, each by itself: where the whole is refused, every part of it is tried."""
    for ref in selection.objectives or ():
        yield replace(selection, objectives=(ref,), datasets=None)
    for ref in selection.datasets or ():
        yield replace(selection, objectives=None, datasets=(ref,))
