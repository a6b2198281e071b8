"""What the commands `run`, `plan` and `table` do: progress for a person, then tables, plots and a leaderboard."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.spec import RunSpec
from bench.store import Planned, Spec, Store
from bench.table import FAILURES

if TYPE_CHECKING:
    import pandas as pd

GOOD, CONTRADICTED, FAILED = 0, 1, 3
WORKER = "bench.run:work"


def duration(seconds: float) -> str:
    """Seconds as a person says them: "41 s", "12 min", "1 h 40 min"."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """One line for each finished run, with how long the rest will take at the pace so far."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.fresh = 0

    def __call__(self, kind: str, spec: Spec, row: dict[str, Any] | None, done: int, total: int) -> None:
        if kind == "start" or row is None:
            return
        if kind == "kept":
            if done == total:
                print(f"[{done}/{total}] everything was there already", file=sys.stderr)
            return
        self.fresh += row["status"] != "skipped"
        pace = (time.monotonic() - self.began) / max(self.fresh, 1)
        left = duration(pace * (total - done)) if done < total else "done"
        plain = spec.to_dict()
        name = f"{plain['objective']['label']} · {plain['dataset']['label']} · seed {plain['seed']}"
        print(f"[{done}/{total}] {name}: {_outcome(row)}   (left: {left})", file=sys.stderr, flush=True)


def workers(specs: Sequence[RunSpec]) -> int:
    """One run a core that this process may use; one at a time where runs would share a GPU."""
    return 1 if any(spec.device.startswith("cuda") for spec in specs) else len(os.sched_getaffinity(0))


def stackable(run: Planned) -> bool:
    """Whether the seeds of a run's cell are worth training as a stack: they take the same steps, on a small network."""
    spec = run.spec
    return bool(spec["track"] != "equal_seconds" and spec["network"]["name"] != "convolutional")


def _outcome(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    trained = row["time"].get("train_wall")
    said = "tuned" if trained is None else f"{trained:.1f} s"
    value = row["metrics"].get("kl", {}).get("best", {}).get("value")
    return said if value is None else f"KL {value:.3g}, {said}"


def run(specs: Sequence[RunSpec], out: Path, *, jobs: int | None, retry: bool, stack: bool = False) -> int:
    """Runs what is missing, writes every table and plot, and says what failed; returns the exit code.

    Args:
        stack: the missing seeds of a cell train as one stack, where that pays.

    Raises:
        UsageError: if the store cannot be written to or is in use.
        KeyboardInterrupt: after the interrupted runs have been written down.
    """
    from bench import table, terminal
    from bench.execute import execute

    at_once = jobs or workers(specs)
    store = Store(out)
    print(f"{len(specs)} runs, {at_once} at a time, into {out}", file=sys.stderr)
    try:
        rows = execute(
            specs,
            store,
            jobs=at_once,
            worker=WORKER,
            on_event=Progress(),
            retry=retry,
            stack=stackable if stack else None,
        )
    except KeyboardInterrupt:
        if (out / "plans").exists():
            write_results(out)
        raise
    write_results(out)
    terminal.show(table.read(store, specs))
    counts = Counter(row["status"] for row in rows)
    print(", ".join(f"{n} {status}" for status, n in counts.most_common()), file=sys.stderr)
    failed = [(s, r) for s, r in zip(specs, rows, strict=True) if r["status"] in FAILURES]
    for spec, row in failed:
        mark = " (a control: not counted)" if spec.control else ""
        print(
            f"  {spec.objective['label']} · {spec.dataset['label']} · seed {spec.seed}: "
            f"{row['status']}: {row['reason']}{mark}",
            file=sys.stderr,
        )
    print(f"tables and plots: {out / 'leaderboard.md'}, {out / 'results.csv'}, {out / 'plots'}", file=sys.stderr)
    return FAILED if any(not spec.control for spec, _ in failed) else GOOD


def write_results(out: Path) -> None:
    """Writes results.csv, summary.csv, efficiency.csv, leaderboard.md and the plots of a store, from its rows alone.

    Raises:
        UsageError: if there is no store, or nothing was planned in it.
    """
    from bench import efficiency, leaderboard, plots, table
    from bench.errors import UsageError

    store = Store(out)
    records = table.read(store)
    if not records:
        raise UsageError(f"'{out}' holds no plan of any suite; run one into it first")
    table.write(table.frame(store), out / "results.csv")
    table.write(table.summary(records), out / "summary.csv")
    table.write(efficiency.frame(store, records), out / "efficiency.csv")
    pictures = plots.draw(store, records, out / "plots")
    (out / "leaderboard.md").write_text(leaderboard.markdown(store, records, pictures))


def refresh(page: Path, out: Path) -> None:
    """Refreshes the marked tables and pictures of a Markdown page from a store.

    Raises:
        UsageError: if the page or the store is not as it must be.
    """
    from bench import readme

    for sentence in readme.refresh(page, Store(out)):
        print(sentence, file=sys.stderr)


def verdict(out: Path) -> None:
    """Prints the verdict of a store's suites that name a reference, and writes verdict.md into it.

    Raises:
        UsageError: if the store holds no such suite.
    """
    from bench import table, verdict
    from bench.errors import UsageError

    text = verdict.markdown(table.read(Store(out)))
    if not text:
        raise UsageError(f"'{out}' holds no suite with a reference; run one into it first: run --suite verdict")
    (out / "verdict.md").write_text(text + "\n")
    print(text)


def foresight(specs: Sequence[RunSpec], out: Path) -> int:
    """Prints what a plan foretells beside what the finished runs of a store took; returns the exit code.

    Raises:
        UsageError: if the store has no finished run of the plan.
    """
    from bench import foresight
    from bench.child import processor
    from bench.price import price
    from bench.table import markdown, worded

    store = Store(out)
    compared = foresight.compare(specs, store, price)
    print(markdown(worded(compared)))
    if others := foresight.elsewhere(store, here := processor()):
        print(f"seconds are foretold for {here}; runs were made on {', '.join(others)}")
    stacked = int((compared["seconds_of"] == "training").sum())
    if stacked:
        print(f"of {stacked} cells the seconds are those of training: they were run as stacks, judged together")
    fixed = compared[compared["flops"] != foresight.OPEN]
    wrong = int((fixed["flops"] == foresight.UNEQUAL).sum())
    print(f"FLOPs are foretold exactly in {len(fixed) - wrong} of {len(fixed)} cells")
    near = foresight.within(compared)
    print(f"seconds are foretold within a factor of {foresight.FACTOR} in {near} of {len(compared)} cells")
    return CONTRADICTED if wrong else GOOD


def plan(specs: Sequence[RunSpec], *, jobs: int | None) -> None:
    """Prints what would run and its price: seconds on this machine, counted FLOPs."""
    import pandas as pd
    from rich.console import Console
    from rich.progress import track

    from bench.price import price
    from bench.table import markdown, worded

    at_once = jobs or workers(specs)
    # an evaluation by chains of images takes a minute to time
    error = Console(stderr=True)
    seen = track(specs, "timing steps and evaluations", console=error, transient=True, disable=not error.is_terminal)
    prices = price(seen)
    lines = [
        {
            "suite": spec.suite,
            "dataset": spec.dataset["label"],
            "objective": spec.objective["label"],
            "seconds": prices[spec.cell_id].seconds,
            "gflops": prices[spec.cell_id].flops / 1e9,
            "skipped": bool(spec.skip),
        }
        for spec in specs
    ]
    runs = pd.DataFrame(lines)
    grouped = runs.groupby(["suite", "dataset", "objective"], sort=False)
    shown = grouped.agg(runs=("seconds", "size"), seconds=("seconds", "sum"), gflops=("gflops", "sum")).reset_index()
    print(markdown(worded(shown)))
    for spec in {spec.cell_id: spec for spec in specs if spec.skip}.values():
        print(f"skipped: {spec.objective['label']} · {spec.dataset['label']}: {spec.skip}")
    total = float(runs["seconds"].sum())
    print(
        f"{len(runs)} runs, {int(runs['skipped'].sum())} of them skipped; {runs['gflops'].sum():.3g} GFLOPs; about "
        f"{duration(total)} of one core, {duration(total / at_once)} with {at_once} at a time"
    )


def cost(
    objectives: Sequence[str] | None,
    networks: Sequence[str] | None,
    batches: Sequence[int] | None,
    *,
    rounds: int,
    device: str,
    out: Path,
) -> None:
    """Measures every objective in every setting; prints the table and writes cost.csv and cost.md.

    Raises:
        UsageError: if an objective, a network or a batch is not as it must be.
    """
    from bench import cost, load

    settings = cost.grid(networks, batches)
    measured = cost.measure(settings, objectives or load.names("objectives"), rounds=rounds, device=load.device(device))
    _keep(measured, out, "cost")


def cost_precision(
    objectives: Sequence[str] | None,
    networks: Sequence[str] | None,
    batches: Sequence[int] | None,
    precision: str,
    *,
    rounds: int,
    device: str,
    out: Path,
) -> None:
    """Measures training in a precision beside float32; prints the table and writes precision.csv and precision.md.

    Raises:
        UsageError: if an objective, a network, a batch or the precision is not as it must be.
    """
    from bench import cost, cost_precision, load

    chosen, place = objectives or load.names("objectives"), load.device(device)
    measured = cost_precision.measure(cost.grid(networks, batches), chosen, precision, rounds=rounds, device=place)
    _keep(measured, out, "precision")


def scaling(objectives: Sequence[str] | None, *, rounds: int, device: str, out: Path) -> None:
    """Measures along batch, width and dimension; prints the table, writes scaling.csv, scaling.md and scaling.png."""
    from bench import cost, load, plots

    measured = cost.scaling(objectives or load.names("objectives"), rounds=rounds, device=load.device(device))
    _keep(measured, out, "scaling")
    print(plots.draw_scaling(measured, out / "scaling.png"))


def overhead(objectives: Sequence[str] | None, *, rounds: int, device: str) -> None:
    """Prints the harness's own share of a training step of `toy2d`, one line an objective, and of one whole run."""
    import tempfile

    from bench import cost, load, spec
    from bench.execute import execute

    place = load.device(device)
    chosen = tuple(objectives or load.names("objectives"))
    specs = spec.expand(spec.read_suite("toy2d"), spec.Selection(chosen, seeds=(0, 1)), str(place))
    firsts = {s.objective["label"]: s for s in reversed(specs) if not s.skip}
    for label in dict.fromkeys(s.objective["label"] for s in specs if not s.skip):
        share = cost.overhead(firsts[label], rounds=rounds, device=place)
        low, high = share.low or 0.0, share.high or 0.0
        print(f"{label}: {share.mean or 0.0:.2%} of training ({low:.2%} to {high:.2%})")
    both = [s for s in specs if s.cell_id == specs[0].cell_id and not s.skip]
    with tempfile.TemporaryDirectory() as folder:
        # the first of them waits for torch to load, once for a whole suite
        row = execute(both, Store(Path(folder)), worker=WORKER)[-1]
    if row["status"] == "ok":
        total, outside = cost.outside(row)
        print(f"{specs[0].objective['label']}, a run of {total:.1f} s: {outside:.2f} s around training and evaluation")


def audit(objectives: Sequence[str] | None, *, out: Path, jobs: int | None) -> int:
    """Audits the gradients of objectives, writes tables and pictures, prints a sentence each; returns the exit code.

    Raises:
        UsageError: if an objective is not as it must be.
    """
    from bench import audit, audit_report, load

    refs = list(objectives or load.names("objectives"))
    for ref in refs:
        load.find("objectives", ref)  # before any of them is worked on
    at_once = jobs or len(os.sched_getaffinity(0))
    began, done = time.monotonic(), list[str]()
    print(f"{len(refs)} objectives, {at_once} at a time, into {out}", file=sys.stderr)

    def told(objective: str) -> None:
        done.append(objective)
        left = (time.monotonic() - began) / len(done) * (len(refs) - len(done))
        print(f"[{len(done)}/{len(refs)}] {objective}   (left: {duration(left)})", file=sys.stderr, flush=True)

    settings = audit.Settings()
    lines, relatives = audit.audit(refs, settings, at_once, told), audit.family(refs, settings, at_once)
    found = audit_report.write(lines, relatives, out)
    for finding in found:
        print(f"- {finding.sentence}")
    print(f"{duration(time.monotonic() - began)}; tables and pictures: {out / 'audit.md'}", file=sys.stderr)
    return CONTRADICTED if any(finding.broken for finding in found) else GOOD


def verify(out: Path) -> int:
    """Says which rows, curves and logs of a store are not as they were written; returns the exit code."""
    problems = Store(out).verify()
    for problem in problems:
        print(problem)
    print(f"{len(problems)} attempts changed since they were written", file=sys.stderr)
    return FAILED if problems else GOOD


def rulers(dataset: str, n: int, inception: Path | None, *, device: str, out: Path) -> None:
    """Prints what image metrics say of sets whose worth is known; writes rulers.csv and rulers.md.

    Raises:
        UsageError: if the data set has no images or no extractor, or the Inception file is not as it must be.
    """
    from bench import fidelity, load
    from bench.rng import Rng
    from bench.rulers import rulers

    place = load.device(device)
    source = None if inception is None else fidelity.inception(inception)
    _keep(rulers(load.dataset(dataset, Rng(0, "data")).to(place), n, source), out, "rulers")


def fid(out: Path, inception: Path | None, *, device: str) -> None:
    """Prints FID and its kin of the samples that a store's runs have saved; writes fid.csv and fid.md into it.

    Raises:
        UsageError: if no run left images, or the Inception file is not as it must be.
    """
    from bench import fidelity, load
    from bench.saved import saved

    source = None if inception is None else fidelity.inception(inception)
    _keep(saved(out, load.device(device), source), out, "fid")


def _keep(measured: pd.DataFrame, out: Path, name: str) -> None:
    from bench import table

    out.mkdir(parents=True, exist_ok=True)
    for suffix in ("csv", "md"):
        table.write(measured, out / f"{name}.{suffix}")
    print(table.markdown(table.worded(measured)))
    print(f"written to {out / name}.csv and .md", file=sys.stderr)
