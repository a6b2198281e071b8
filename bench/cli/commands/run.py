"""`run`: completes a suite in a store, then writes the tables and plots of the store."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench.cli.options import TRACKERS, Commands, Group, add_plan, add_tuned, job_count, new_parser, planned_runs
from bench.common.errors import UsageError
from bench.common.exit_codes import FAILED, GOOD
from bench.common.paths import default_store

if TYPE_CHECKING:
    from bench.common.plugin_source import Kind
    from bench.common.run_spec import RunSpec
    from bench.results.store import Store
    from bench.runner.executor import Event
    from bench.suites.shards import Shard

GROUP = Group.TRAIN


def add_parser(commands: Commands) -> None:
    """Adds the command and its options."""
    parser = new_parser(commands, "run", "Run a suite; completed runs are skipped.")
    add_plan(parser)
    add_tuned(parser)
    parser.add_argument(
        "--out", type=Path, default=default_store(), metavar="DIR", help="Store to write into (default: %(default)s)."
    )
    parser.add_argument("--retry", action="store_true", help="Also repeat failed runs (default: keep their results).")
    parser.add_argument(
        "--batch-seeds",
        action="store_true",
        help="Train the seeds of a cell together where that is faster (default: where the suite says so).",
    )
    parser.add_argument(
        "--save-weights",
        action="store_true",
        help="Keep each run's trained weights beside its row (default: where the suite says so).",
    )
    parser.add_argument(
        "--log", choices=TRACKERS, help="Also send curves and results there as runs go (default: nowhere)."
    )
    parser.add_argument(
        "--backend",
        choices=("local", "dask"),
        default="local",
        help="Run on this machine, or on the workers of a Dask cluster that share the store's folder "
        "(default: %(default)s).",
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="Address of the scheduler of --backend dask (default: none)."
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="Run this part of the suite only and write no pages, for one of several jobs (default: all of it).",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UsageError: if an option is invalid, or the store is in use or cannot be written to.
        KeyboardInterrupt: on an interrupt, after the interrupted runs have been recorded.
    """
    from bench.suites.schema import own_files
    from bench.suites.shards import parse_shard

    shard = None if options.shard is None else parse_shard(options.shard)
    if (options.backend == "dask") != (options.scheduler is not None):
        raise UsageError("--backend dask and --scheduler ADDRESS go together; one is missing: give both or neither")
    specs = _marked(planned_runs(options))
    if options.save_weights:
        specs = [replace(spec, save_weights=True) for spec in specs]
    return run_suite(
        specs,
        options.out,
        jobs=job_count(options),
        retry=options.retry,
        batch_seeds=options.batch_seeds,
        suites=own_files(options.suite),
        log=options.log,
        shard=shard,
        scheduler=options.scheduler,
    )


def _marked(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The specs with what is known of the contract of somebody's own files, which is said once each."""
    from bench.contract import ledger
    from bench.plugins import registry

    known: dict[tuple[Kind, str], str] = {}
    marked = []
    for spec in specs:
        parts: list[tuple[Kind, str]] = [("datasets", spec.dataset.ref), ("networks", spec.network.ref)]
        if not spec.classical:
            parts.append(("objectives", spec.objective.ref))
        for part in parts:
            if part not in known:
                plugin = registry.find(*part)
                found = ledger.standing(plugin.path) if plugin.is_own else ""
                known[part] = f"{plugin.path.name}: {found}" if found else ""
        marked.append(replace(spec, contract=tuple(filter(None, (known[part] for part in parts)))))
    for mark in sorted(set(filter(None, known.values()))):
        print(f"{mark}; `check FILE.py` says what it breaks, and its rows are marked until then", file=sys.stderr)
    return marked


def run_suite(
    specs: Sequence[RunSpec],
    out: Path,
    *,
    jobs: int | None,
    retry: bool,
    batch_seeds: bool = False,
    suites: Mapping[str, bytes] = MappingProxyType({}),
    log: str | None = None,
    shard: Shard | None = None,
    scheduler: str | None = None,
) -> int:
    """Completes the runs, writes every table and plot, and lists the failures; returns the exit code.

    Of a shard only the runs are completed: other jobs may be at work, and `table` shows what they have made together.

    Raises:
        UsageError: if the store cannot be written to or is in use.
        KeyboardInterrupt: on an interrupt, after the interrupted runs have been recorded.
    """
    from bench.report import terminal
    from bench.results.records import records_of
    from bench.results.store import Planned, Store

    own = specs if shard is None else shard.of(specs)
    if shard is not None:
        Store(out).keep_suites(suites)
    try:
        with _followed(Store(out), log) as follower:
            rows = _execute(
                own,
                Store(out),
                jobs=jobs,
                retry=retry,
                batch_seeds=batch_seeds,
                plan=specs,
                follower=follower,
                scheduler=scheduler,
            )
    except KeyboardInterrupt:
        if shard is None and (out / "plans").exists():
            _write_pages(out, suites)
        raise
    _say_what_kept_no_weights(Store(out), own, rows)
    if shard is not None:  # whoever has the last part writes the pages
        return _report_failures(own, rows)
    _write_pages(out, suites)
    runs = [(Planned(row["cell_id"], spec), row) for spec, row in zip(specs, rows, strict=True)]
    terminal.print_leaderboard(records_of({run.key: (run, row) for run, row in runs}.values()))
    code = _report_failures(specs, rows)
    print(f"tables and plots: {out / 'leaderboard.md'}, {out / 'results.csv'}, {out / 'plots'}", file=sys.stderr)
    return code


def _say_what_kept_no_weights(store: Store, specs: Sequence[RunSpec], rows: Sequence[Mapping[str, Any]]) -> None:
    """Runs that were finished before weights were asked for are not made again."""
    from bench.results.store import WEIGHTS, Planned

    done = [spec for spec, row in zip(specs, rows, strict=True) if row["status"] == "ok" and not spec.classical]
    asked = Planned.all_of(spec for spec in done if spec.save_weights)
    found = map(store.newest_attempt, asked)
    if without := sum(attempt is not None and not (attempt.folder / WEIGHTS).is_file() for attempt in found):
        said = f"{without} of {len(asked)} runs were finished before and kept no weights; run them into another store"
        print(said, file=sys.stderr)


def _write_pages(out: Path, suites: Mapping[str, bytes]) -> None:
    from bench.report.store_pages import write_store_pages
    from bench.results.store import Store

    Store(out).keep_suites(suites)
    write_store_pages(out, again=False)


@contextmanager
def _followed(store: Store, log: str | None) -> Iterator[Event | None]:
    """The event handler that sends runs to a tracking tool, if one is named."""
    if log is None:
        yield None
        return
    from bench.tracking.follower import Follower
    from bench.tracking.trackers import tracker

    follower = Follower(store, tracker(log, "", store.root))
    try:
        yield follower
    finally:
        follower.close()
        said = (
            f"nothing more was sent, {follower.failure}"
            if follower.failure
            else f"sent to {follower.tracker.destination}"
        )
        print(said, file=sys.stderr)


def _execute(
    specs: Sequence[RunSpec],
    store: Store,
    *,
    jobs: int | None,
    retry: bool,
    batch_seeds: bool,
    follower: Event | None = None,
    plan: Sequence[RunSpec] | None = None,
    scheduler: str | None = None,
) -> list[Mapping[str, Any]]:
    from bench.results.store import Store
    from bench.runner import cluster, progress

    with ExitStack() as stack:
        if scheduler is None:
            at_once = jobs or progress.workers(specs)
        else:
            threads = stack.enter_context(cluster.on_cluster(scheduler))
            at_once, store = min(jobs or threads, threads), Store(store.root.resolve())
        return _executed(specs, store, at_once, retry, batch_seeds, follower, plan)


def _executed(
    specs: Sequence[RunSpec],
    store: Store,
    at_once: int,
    retry: bool,
    batch_seeds: bool,
    follower: Event | None,
    plan: Sequence[RunSpec] | None,
) -> list[Mapping[str, Any]]:
    from bench.runner import progress
    from bench.runner.executor import execute

    print(f"{len(specs)} runs, {at_once} in parallel, into {store.root}", file=sys.stderr)
    with progress.show_progress(len(specs), store) as shown:

        def on_event(*event: Any) -> None:
            shown(*event)
            if follower is not None:
                follower(*event)

        return execute(
            specs,
            store,
            jobs=at_once,
            worker=progress.WORKER,
            on_event=on_event,
            retry=retry,
            stack=partial(progress.stackable, asked=batch_seeds),
            plan=plan,
        )


def _report_failures(specs: Sequence[RunSpec], rows: Sequence[Mapping[str, Any]]) -> int:
    from bench.results.records import FAILURES

    counts = Counter(row["status"] for row in rows)
    print(", ".join(f"{n} {status}" for status, n in counts.most_common()), file=sys.stderr)
    failed = [(spec, row) for spec, row in zip(specs, rows, strict=True) if row["status"] in FAILURES]
    for spec, row in failed:
        name = f"{spec.objective.label} · {spec.dataset.label} · seed {spec.seed}"
        mark = " (a control: not counted)" if spec.control else ""
        print(f"  {name}: {row['status']}: {row['reason']}{mark}", file=sys.stderr)
    return FAILED if any(not spec.control for spec, _ in failed) else GOOD
