"""Random rows of a store once more: whether their numbers are what the code gives."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import stdev

from bench.common.errors import UsageError
from bench.common.run_spec import BY_CLOCK
from bench.results.records import Record, read_records
from bench.results.store import Store
from bench.runner.code_check import changed_code
from bench.runner.executor import execute

SPREADS = 3.0  # standard deviations over a cell's seeds within which another environment may come out

NOT_JUDGED = "not judged: another environment or a stack, and fewer than two other seeds to say how much that may be"


def rerun(store: Store, count: int, worker: str = "bench.runner.single_run:work") -> tuple[list[str], int]:
    """Runs some completed rows again, elsewhere; returns a line for each, and how many came out otherwise.

    In the environment of the row, on a CPU and alone, the numbers are the same to the bit; else they are within the
    spread of the cell's other seeds.

    Raises:
        UsageError: if fewer than one is asked for, or no row can be run again because its code has changed.
    """
    if count < 1:
        raise UsageError(f"--rerun must be at least 1; got {count}")
    records = [record for record in read_records(store) if record.status == "ok"]
    usable = [record for record in records if not changed_code(record.spec)]
    if not usable:
        raise UsageError(f"no completed run of '{store.root}' can be run again: the code of each has changed since")
    chosen = random.Random().sample(usable, min(count, len(usable)))
    with tempfile.TemporaryDirectory() as folder:
        again = Store(Path(folder))
        execute([record.spec for record in chosen], again, worker=worker)
        fresh = {record.run.key: record for record in read_records(again)}
    lines, wrong = [], 0
    for record in chosen:
        name = f"{record.objective} · {record.dataset} · seed {record.spec.seed}"
        fault, how = compared(record, fresh[record.run.key], records)
        wrong += bool(fault)
        lines.append(f"{name}: {fault or how}")
    return lines, wrong


def compared(record: Record, fresh: Record, records: Sequence[Record], *, rounded: float = 0.0) -> tuple[str, str]:
    """What is wrong with a row, "" if nothing, and in what sense a new one of its run agrees.

    Args:
        records: those that the row's cell is among, whose spread says how far apart two may be.
        rounded: the relative error with which the row's numbers were written.
    """
    if fresh.status != "ok":
        return f"now {fresh.status}: {fresh.reason}", ""
    exact = (
        record.run.cell_id == fresh.run.cell_id
        and record.get("env.env_id") == fresh.get("env.env_id")
        and record.spec.device == "cpu"
        and record.spec.track not in BY_CLOCK
        and record.get("time.stack") is None
    )
    cell = [other for other in records if other.run.key[:4] == record.run.key[:4] and other is not record]
    alone = False  # where only a number beside others of its cell could be judged
    for key, found in record.values.items():
        now = fresh.value(key).value
        if found.value == now or (found.value and now and math.isclose(found.value, now, rel_tol=rounded)):
            continue
        seeds = [v for other in cell if (v := other.value(key).value) is not None]
        alone |= len(seeds) < 2
        allowed = SPREADS * stdev(seeds) if len(seeds) > 1 else float("inf")
        if exact or found.value is None or now is None or abs(found.value - now) > allowed:
            rule = "equal, in the same environment" if exact else f"within {allowed:.3g}, the spread of its seeds"
            return f"{key.column} was {found.value} and is now {now}; it must be {rule}", ""
    if exact:
        return "", "the same in all written digits" if rounded else "the same to the bit"
    return "", NOT_JUDGED if alone else "within the spread of its seeds"
