"""The leaderboard as a table: a line for each objective and data set, with its shared rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from bench.common.statistics import shared_ranks, t_interval
from bench.results.convergence import convergence
from bench.results.metric_values import MetricKey, preferred
from bench.results.records import Cell, Record, any_value, group_cells, metric_basis, metric_bounds

PRIMARY = ("kl", "nll", "fid", "sliced_wasserstein")  # what there is no likelihood for is judged by its samples


def primary_key(records: Iterable[Record], own: str = "") -> MetricKey | None:
    """What a data set is ranked by: the suite's own metric, else the first of `PRIMARY` there is.

    Of the best weights, else of the averaged, else of the last, unless the suite's own names them.

    Args:
        own: a metric in place of the suite's.
    """
    records = list(records)
    found = {key for r in records if r.status == "ok" for key, e in r.values.items() if e.value is not None}
    for record in records[:1]:
        wanted = (own or record.spec.primary).replace(".", "_")
        chosen = [key for key in sorted(found) if wanted in (key.stem, f"{key.stem}_{key.weights}")]
        if chosen:
            return preferred(chosen, chosen[0].metric, chosen[0].part)
    if own:
        return None
    names = sorted({(key.metric, key.part) for key in found}, key=lambda name: (name[0] not in PRIMARY, name))
    order = [(metric, "") for metric in PRIMARY if (metric, "") in names] + names
    return preferred(found, *order[0]) if order else None


def leaderboard_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One line per suite, objective and data set: its primary metric over the seeds, and its shared rank.

    Ranked are entries that have a certified value at every planned seed and at two of them at least, compared at the
    seeds that most of them have; controls never are. Classical denoisers are no entries: they stand in the table of
    denoised images.
    """
    lines = []
    groups: dict[tuple[str, str, str, str], dict[str, Cell]] = {}
    for (suite, track, device, objective, dataset), cell in group_cells(records).items():
        if cell.records[0].spec.classical:
            continue
        groups.setdefault((suite, track, device, dataset), {})[objective] = cell
    for (suite, track, device, dataset), entries in groups.items():
        of_all = [record for cell in entries.values() for record in cell.records]
        key = primary_key(of_all)
        about = any_value((r for cell in entries.values() for r in cell.completed), key)
        apart = {name for name, cell in entries.items() if cell.records[0].spec.unranked}
        check = convergence(entries)
        rankable = {
            name: cell
            for name, cell in entries.items()
            if name not in apart and not cell.uncertified(key) and None not in cell.seeds(key)
        }
        ranked = all(cell.records[0].spec.ranked for cell in entries.values()) and not (check and check.failed)
        ranks = shared_ranks(_aligned(rankable, key), about.better, scale=about.scale) if ranked else {}
        basis = metric_basis(of_all, key) or metric_bounds(of_all, key)
        for objective, cell in entries.items():
            interval = t_interval(cell.numbers(key))
            lines.append(
                {
                    "suite": suite,
                    "track": track,
                    "device": device,
                    "objective": objective,
                    "name": cell.records[0].spec.objective.name,
                    "control": cell.records[0].spec.control,
                    "reference_fit": cell.records[0].spec.reference_fit,
                    "ranked": ranked,
                    "convergence": check.words if check else "",
                    "dataset": dataset,
                    "metric": key.column if key else "",
                    "key": key,
                    "unit": about.unit,
                    "better": about.better,
                    "basis": basis,
                    "planned": len(cell.records),
                    "skipped": sum(record.status == "skipped" for record in cell.records),
                    "ok": len(cell.completed),
                    "n": interval.n,
                    "mean": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    "uncertified": cell.uncertified(key),
                    "rank": ranks.get(objective),
                    "train_seconds": cell.median("train_seconds"),
                    "peak_memory_mb": cell.median("peak_memory_mb"),
                    "gflops": None if (flops := cell.median("flops_train")) is None else flops / 1e9,
                    "entropy": next((e for r in cell.completed if (e := r.get("model.entropy")) is not None), None),
                    "shown": format_cell(cell, key, ranks.get(objective)) + _floor(cell, key),
                }
            )
    return pd.DataFrame(lines)


def _floor(cell: Cell, key: MetricKey | None) -> str:
    """How near an objective of noised data can come at best, ", floor 0.097"; "" for others and other metrics."""
    floor = cell.median("kl_floor") if key and key.metric == "kl" else None
    return "" if floor is None else f", floor {floor:.2g}"


def _aligned(entries: dict[str, Cell], key: MetricKey | None) -> dict[str, list[float | None]]:
    """Each entry's values at the seeds that most entries have, so that one with seeds of its own moves nobody."""
    by_seed = {
        name: {r.spec.seed: v for r, v in zip(cell.records, cell.seeds(key), strict=True)}
        for name, cell in entries.items()
    }
    commonest = Counter(tuple(sorted(values)) for values in by_seed.values()).most_common(1)
    return {name: [values.get(seed) for seeds, _ in commonest for seed in seeds] for name, values in by_seed.items()}


def format_cell(cell: Cell, key: MetricKey | None, rank: int | None = None) -> str:
    """A leaderboard's cell: mean ± half-width, "?" if uncertified, the rank or how many runs gave a number."""
    interval = t_interval(cell.numbers(key))
    if interval.mean is None:
        return cell.word(key)
    half = interval.half_width
    text = f"{interval.mean:.3g} ({interval.word})" if half is None else _plus_minus(interval.mean, half)
    text += "?" if cell.uncertified(key) else ""
    if interval.n < len(cell.records):
        return f"{text}, {interval.n} of {len(cell.records)}"
    return text if rank is None else f"{text} (#{rank})"


def _plus_minus(mean: float, half: float) -> str:
    if max(abs(mean), half) >= 1e4:
        return f"{mean:.2g} ± {half:.1g}"
    digits = next((d for d in range(4) if half >= 10 ** (1 - d)), 4)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"
