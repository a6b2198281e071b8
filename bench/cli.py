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
PRECISION = "float32|tf32|bfloat16"
DEFAULT_HISTORY = Path("results/history.jsonl")


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
        command.add_argument("--precision", metavar=PRECISION, help="of training (default: the suite's, float32)")
        _takes_data_dir(command)
        if name == "plan":
            command.add_argument("--against", type=Path, metavar="STORE", help="the price beside what runs there took")
        if name == "run":
            command.add_argument("--out", type=Path, default=DEFAULT_STORE, metavar="DIR")
            command.add_argument("--retry", action="store_true", help="run failed cells again, too")
            command.add_argument("--stack", action="store_true", help="train the seeds of a cell together")
    command = verb("list", _list, "list what can be named")
    command.add_argument("kind", nargs="?", metavar="objectives|datasets|metrics|networks|denoisers|suites")
    command = verb("show", _show, "explain one objective, data set, metric, network or suite")
    command.add_argument("ref", metavar="NAME|PATH.py")
    command = verb("table", _table, "write the tables, plots and leaderboard of a store again")
    command.add_argument("store", nargs="?", type=Path, default=DEFAULT_STORE)
    command.add_argument(
        "--page", type=Path, metavar="FILE.md", help="refresh only the marked tables and pictures of a page"
    )
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
    command = verb("gate", _gate, "hold this version against the accepted baseline: completeness, work, quality")
    command.add_argument("--baseline", type=Path, metavar="FILE.json", help=f"default, alone: {DEFAULT_BASELINE}")
    command.add_argument("--against", metavar="REF", help="a commit: compare quality and time with it, in one job")
    command.add_argument("--objective", action="append", metavar="A,B", help="with --against: these only")
    command.add_argument(
        "--benchmark",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.json",
        help="of pytest-benchmark; 2 or 4 times: before, after, after, before",
    )
    command.add_argument("--self-test", action="store_true", help="how often the gate is wrong on this machine")
    command.add_argument("--rounds", type=int, default=40, metavar="N", help="of the self-test")
    command.add_argument("--report", type=Path, action="append", default=[], metavar="FILE.md|.xml|.json")
    command.add_argument("--history", type=Path, default=DEFAULT_HISTORY, metavar="FILE.jsonl")
    command.add_argument("--jobs", type=int, default=None, metavar="N")
    command = verb("history", _history, "show what every gated commit measured, and where something changed for good")
    command.add_argument("--history", type=Path, default=DEFAULT_HISTORY, metavar="FILE.jsonl")
    command.add_argument("--out", type=Path, metavar="FILE.png", help="default: beside the history")
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
    command.add_argument("--precision", metavar=PRECISION, help="this of training beside float32, with its errors")
    command.add_argument("--out", type=Path, default=Path("results/runs/cost"), metavar="DIR")
    command = verb("rulers", _rulers, "what FID and its kin say of test images, Gaussians and noise")
    command.add_argument("--dataset", required=True, metavar="NAME[k=v]|path.py")
    command.add_argument("--samples", type=int, default=1000, metavar="N", help="images in each set (default: 1000)")
    command.add_argument("--out", type=Path, default=Path("results/runs/rulers"), metavar="DIR")
    fid = verb("fid", _fid, "FID and its kin of the samples that a store's runs have saved")
    fid.add_argument("store", nargs="?", type=Path, default=DEFAULT_STORE)
    for each in (command, fid):
        _takes_data_dir(each)
        each.add_argument("--inception", type=Path, metavar="FILE.pth", help="on the standard Inception features")
        each.add_argument("--device", default="auto", metavar="auto|cpu|cuda")
    command = verb("audit", _audit, "hold every objective's expected gradient against exact ones: bias, noise, cost")
    command.add_argument("--objective", action="append", metavar="A,B[k=v],path.py")
    command.add_argument("--out", type=Path, default=Path("results/runs/audit"), metavar="DIR")
    command.add_argument("--jobs", type=int, default=None, metavar="N")
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
    return spec.expand(spec.read_suite(options.suite), selection, str(load.device(options.device)), options.precision)


def _joined(values: list[str] | None) -> tuple[str, ...] | None:
    from bench import spec

    return None if values is None else tuple(item for value in values for item in spec.split_list(value))


def _run(options: argparse.Namespace) -> int:
    from bench import session

    return session.run(_specs(options), options.out, jobs=options.jobs, retry=options.retry, stack=options.stack)


def _plan(options: argparse.Namespace) -> int:
    from bench import session

    specs = _specs(options)
    if options.against is not None:
        return session.foresight(specs, options.against)
    session.plan(specs, jobs=options.jobs)
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

    if options.self_test:
        return gate_session.self_test(options.rounds, reports=options.report, jobs=_jobs(options))
    alone = options.against is None and not options.benchmark
    return gate_session.run(
        gate_session.Request(
            baseline=options.baseline or (DEFAULT_BASELINE if alone else None),
            against=options.against,
            objectives=_joined(options.objective),
            benchmarks=options.benchmark,
            reports=options.report,
            history=options.history,
            jobs=_jobs(options),
        )
    )


def _history(options: argparse.Namespace) -> int:
    from bench import history_plots

    print(history_plots.show(options.history, options.out or options.history.with_suffix(".png")))
    return GOOD


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
    settings = objectives, networks, options.batch
    measured = {"rounds": options.rounds, "device": options.device}
    if options.precision is not None:
        if options.overhead or options.scaling:
            raise UsageError("--precision is a table of its own; drop --overhead and --scaling")
        session.cost_precision(*settings, options.precision, out=options.out, **measured)
    elif options.overhead:
        session.overhead(objectives, **measured)
    elif options.scaling:
        session.scaling(objectives, out=options.out, **measured)
    else:
        session.cost(*settings, out=options.out, **measured)
    return GOOD


def _rulers(options: argparse.Namespace) -> int:
    from bench import session

    if options.samples < 8:
        raise UsageError(f"--samples must be at least 8, or there are no neighbours; got {options.samples}")
    session.rulers(options.dataset, options.samples, options.inception, device=options.device, out=options.out)
    return GOOD


def _fid(options: argparse.Namespace) -> int:
    from bench import session

    session.fid(options.store, options.inception, device=options.device)
    return GOOD


def _audit(options: argparse.Namespace) -> int:
    from bench import session

    return session.audit(_joined(options.objective), out=options.out, jobs=_jobs(options))


def _doctor(options: argparse.Namespace) -> int:
    from bench import doctor

    print(doctor.report())
    return GOOD
