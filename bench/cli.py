"""The command line: verbs, and no logic. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import data_files
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.spec import RunSpec

GOOD, USAGE, FAILED, INTERRUPTED = 0, 2, 3, 130
DEFAULT_STORE = Path("results/runs")
DEFAULT_BASELINE = Path("results/baselines/main.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code.

    0 good, 1 regression, 2 bad input, 3 some cells failed, 4 undecided or not measured, 130 interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        if getattr(options, "data_dir", None) is not None:
            data_files.use(options.data_dir, must_exist=options.verb is not _fetch)
        code: int = options.verb(options)
    except UsageError as error:
        print(f"bench: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("bench: interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="A benchmark of energy-based model training.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def verb(name: str, function: object, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(verb=function)
        return added

    for name, function, text in (
        ("run", _run, "run a suite, or go on with it: finished runs are left alone"),
        ("plan", _plan, "say what a suite would run, and what it would cost"),
    ):
        command = verb(name, function, text)
        command.add_argument("--suite", required=True, metavar="NAME|FILE.toml")
        command.add_argument("--objective", action="append", metavar="A,B[k=v],path.py")
        command.add_argument("--dataset", action="append", metavar="A,B")
        command.add_argument("--seed", action="append", metavar="0-4,7")
        command.add_argument("--device", default="auto", metavar="auto|cpu|cuda")
        command.add_argument("--jobs", type=int, default=None, metavar="N", help="runs at once (default: one a core)")
        _takes_data_dir(command)
        if name == "run":
            command.add_argument("--out", type=Path, default=DEFAULT_STORE, metavar="DIR")
            command.add_argument("--retry", action="store_true", help="run failed cells again, too")
    command = verb("list", _list, "list what can be named")
    command.add_argument("kind", nargs="?", metavar="objectives|datasets|metrics|networks|suites")
    command = verb("show", _show, "explain one objective, data set, metric, network or suite")
    command.add_argument("ref", metavar="NAME|PATH.py")
    command = verb("table", _table, "write the tables, plots and leaderboard of a store again")
    command.add_argument("store", nargs="?", type=Path, default=DEFAULT_STORE)
    command.add_argument("--page", type=Path, metavar="FILE.md", help="refresh only the marked tables of a page")
    command = verb("report", _report, "write the leaderboard as one HTML file that needs nothing else")
    command.add_argument("store", nargs="?", type=Path, default=DEFAULT_STORE)
    command.add_argument("--out", type=Path, default=Path("page.html"), metavar="FILE.html")
    command.add_argument(
        "--paper", type=Path, metavar="DIR", help="tables as CSV, Markdown, LaTeX; figures as SVG, PDF"
    )
    command = verb("verdict", _verdict, "compare a suite's objectives with its reference, paired by seed")
    command.add_argument("store", nargs="?", type=Path, default=DEFAULT_STORE)
    command = verb("compare", _compare, "set two stores side by side, paired by seed; Markdown for a pull request")
    command.add_argument("a", type=Path, metavar="A")
    command.add_argument("b", type=Path, metavar="B")
    command = verb("verify", _verify, "look for rows, curves and logs that were changed after they were written")
    command.add_argument("store", nargs="?", type=Path, default=DEFAULT_STORE)
    command = verb("gate", _gate, "hold this version against the accepted baseline: work, quality, completeness")
    command.add_argument("--baseline", type=Path, default=DEFAULT_BASELINE, metavar="FILE.json")
    command.add_argument("--against", metavar="REF", help="a commit: compare time and quality with it, in one job")
    command.add_argument("--report", type=Path, action="append", default=[], metavar="FILE.md|.xml|.json")
    command.add_argument("--jobs", type=int, default=None, metavar="N")
    command = verb("accept", _accept, "measure this version and make it the baseline that later ones are held against")
    command.add_argument("--reason", required=True)
    command.add_argument("--baseline", type=Path, default=DEFAULT_BASELINE, metavar="FILE.json")
    command.add_argument("--jobs", type=int, default=None, metavar="N")
    command = verb("check", _check, "hold a plug-in to the contract")
    command.add_argument("ref", metavar="NAME|PATH.py")
    _takes_data_dir(command)
    data = verb("data", _data_list, "the data sets that do not come with the project: what is here, and fetching it")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    action = actions.add_parser("list", help="say of every data set whether its files are here")
    action.set_defaults(verb=_data_list)
    _takes_data_dir(action)
    action = actions.add_parser("fetch", help="download the files of one data set into the data directory")
    action.set_defaults(verb=_fetch)
    action.add_argument("name", metavar="NAME")
    _takes_data_dir(action)
    command = verb("cost", _cost, "time a training step of every objective, interleaved, and count its work")
    command.add_argument("--objective", action="append", metavar="A,B[k=v],path.py")
    command.add_argument("--network", action="append", metavar="NAME[k=v]")
    command.add_argument("--batch", action="append", type=int, metavar="N")
    command.add_argument("--rounds", type=int, default=31, metavar="N")
    command.add_argument("--device", default="auto", metavar="auto|cpu|cuda")
    command.add_argument("--scaling", action="store_true", help="along batch, width and dimension, with a plot")
    command.add_argument("--overhead", action="store_true", help="the harness's own share of a training step")
    command.add_argument("--out", type=Path, default=Path("results/runs/cost"), metavar="DIR")
    verb("doctor", _doctor, "say what this machine offers and lacks")
    return parser


def _takes_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir", type=Path, metavar="DIR", help=f"where data sets are kept (default: ${data_files.ENVIRONMENT})"
    )


def _specs(options: argparse.Namespace) -> list[RunSpec]:
    from bench import load, spec

    _jobs(options)
    seeds = None if options.seed is None else spec.parse_seeds(",".join(options.seed))
    selection = spec.Selection(_joined(options.objective), _joined(options.dataset), seeds)
    return spec.expand(spec.read_suite(options.suite), selection, str(load.device(options.device)))


def _joined(values: list[str] | None) -> tuple[str, ...] | None:
    from bench import spec

    return None if values is None else tuple(item for value in values for item in spec.split_list(value))


def _run(options: argparse.Namespace) -> int:
    from bench import session

    return session.run(_specs(options), options.out, jobs=options.jobs, retry=options.retry)


def _plan(options: argparse.Namespace) -> int:
    from bench import session

    session.plan(_specs(options), jobs=options.jobs)
    return GOOD


def _list(options: argparse.Namespace) -> int:
    from bench import explain

    print(explain.listing(options.kind))
    return GOOD


def _show(options: argparse.Namespace) -> int:
    from bench import explain

    print(explain.explain(options.ref))
    return GOOD


def _table(options: argparse.Namespace) -> int:
    from bench import session

    if options.page is None:
        session.write_results(options.store)
    else:
        session.refresh(options.page, options.store)
    return GOOD


def _report(options: argparse.Namespace) -> int:
    from bench import paper, report

    report.write(options.store, options.out)
    print(options.out)
    if options.paper is not None:
        paper.write(options.store, options.paper)
        print(options.paper)
    return GOOD


def _verdict(options: argparse.Namespace) -> int:
    from bench import session

    session.verdict(options.store)
    return GOOD


def _compare(options: argparse.Namespace) -> int:
    from bench import compare

    print(compare.markdown(options.a, options.b))
    return GOOD


def _verify(options: argparse.Namespace) -> int:
    from bench import session

    return session.verify(options.store)


def _gate(options: argparse.Namespace) -> int:
    from bench import gate_session

    if options.against is not None:
        return gate_session.against(options.against, jobs=_jobs(options), reports=options.report)
    return gate_session.run(options.baseline, jobs=_jobs(options), reports=options.report)


def _accept(options: argparse.Namespace) -> int:
    from bench import gate_session

    gate_session.accept(options.reason, options.baseline, jobs=_jobs(options))
    return GOOD


def _jobs(options: argparse.Namespace) -> int | None:
    if options.jobs is not None and options.jobs < 1:
        raise UsageError(f"--jobs must be at least 1; got {options.jobs}")
    jobs: int | None = options.jobs
    return jobs


def _check(options: argparse.Namespace) -> int:
    from bench import check

    findings = check.check(options.ref)
    for finding in findings:
        print(f"{'pass' if finding.passed else 'FAIL'}  {finding.rule}: {finding.detail}")
    return GOOD if all(finding.passed for finding in findings) else FAILED


def _data_list(options: argparse.Namespace) -> int:
    from bench import fetch

    print(fetch.listing())
    return GOOD


def _fetch(options: argparse.Namespace) -> int:
    from bench import fetch

    for path in fetch.fetch(options.name):
        print(path)
    return GOOD


def _cost(options: argparse.Namespace) -> int:
    from bench import session

    if options.rounds < 6:
        raise UsageError(f"--rounds must be at least 6, or no interval can be given; got {options.rounds}")
    for batch in options.batch or ():
        if batch < 1:
            raise UsageError(f"--batch must be at least 1; got {batch}")
    objectives, networks = _joined(options.objective), _joined(options.network)
    if options.overhead:
        session.overhead(objectives, rounds=options.rounds, device=options.device)
    elif options.scaling:
        session.scaling(objectives, rounds=options.rounds, device=options.device, out=options.out)
    else:
        session.cost(objectives, networks, options.batch, rounds=options.rounds, device=options.device, out=options.out)
    return GOOD


def _doctor(options: argparse.Namespace) -> int:
    from bench import doctor

    print(doctor.report())
    return GOOD
