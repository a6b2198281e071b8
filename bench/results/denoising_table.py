"""How well each way of removing noise did: energies by each method, classical denoisers, paired by image."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from bench.common.paths import PUBLISHED
from bench.common.references import split_reference
from bench.common.statistics import Interval, t_interval
from bench.results import tables
from bench.results.labels import display_name
from bench.results.metric_values import PREFERRED, MetricKey, preferred
from bench.results.records import Cell, Record, by_dataset, group_cells, shown_name

LEVELS = (15, 25, 50)
METHODS = {
    "tweedie": "Tweedie's formula",
    "blind": "Tweedie's formula, σ not told",
    "mean": "posterior mean",
    "mode": "posterior mode",
    "classical": "direct",
    "unaided": "direct, σ not told",
}
RESTORED = {"inpainting": "inpainting", "super_resolution": "2× super-resolution"}
RULER = "non_local_means"
FLOOR = "gaussian_filter"
READING = (
    "Noise of σ = 15, 25, 50 of 255 grey levels, removed from held-out images. PSNR in decibels with the change "
    "against non-local means, image by image (the same noise, averaged over seeds), with Student's 95 % interval over "
    "images; SSIM. Classical denoisers have their parameter chosen on validation images. What is marked as not an "
    "energy is a network that was trained to denoise: a ruler, and no entry. An energy is a prior: the posterior's "
    "mean by Metropolis-adjusted Langevin chains, its mode by descent; Tweedie's formula asks for a model of the "
    "noised law. Where σ is not told, it is the one that the wavelet details of each image show. "
    "`?`: the chains from two starts have not met, so the mean is theirs and not the posterior's."
)
ABOUT_RESTORED = (
    "Inpainting: half of the pixels are missing at random; 2× super-resolution: squares of 2×2 are averaged; both "
    "under noise of σ = 15, restored by the posterior's mode. PSNR with the change against the guess that the descent "
    "begins from, a mean of what is around or bicubic interpolation."
)


@dataclass(frozen=True)
class Line:
    """One way of removing noise in a suite, on one data set: an objective, or a classical denoiser, and a method.

    Attributes:
        name: the plug-in's, where `objective` is the one that is shown.
        psnr, ssim: by level, one entry an image, the mean over seeds; a word where there is none.
        doubtful: the levels at which a value is not certified; it is shown with "?".
        restored: by task, PSNR by the posterior's mode and that of the guess that it began from, one entry an image
            each, or a word; {} where nothing was restored, or by another method.
    """

    objective: str
    name: str
    method: str
    psnr: dict[int, np.ndarray | str]
    ssim: dict[int, np.ndarray | str]
    doubtful: frozenset[int] = frozenset()
    restored: Mapping[str, tuple[np.ndarray | str, np.ndarray | str]] = field(default_factory=dict)

    @property
    def order(self) -> float:
        """What lines are sorted by: PSNR at the middle level, highest first, words last."""
        middle = self.psnr[LEVELS[1]]
        return np.inf if isinstance(middle, str) else -float(middle.mean())


def denoising_lines(records: Iterable[Record]) -> list[Line]:
    """Every objective by every method, on the one suite and data set that the records are of, best first.

    A method for which the objective has no number at any level is left out, unless its runs failed. Runs that were not
    to denoise anything have no line.
    """
    found = []
    for (_, _, _, objective, _), cell in group_cells(records).items():
        about = cell.records[0].spec
        if not any(ref.startswith("denoising_psnr") for ref in _metrics(cell)) or (about.classical and about.skip):
            continue
        for method in METHODS:
            psnr, ssim = (
                {level: _by_image(cell, f"denoising_{name}", f"{method}_{level}") for level in LEVELS}
                for name in ("psnr", "ssim")
            )
            doubtful = frozenset(level for level in LEVELS if _doubtful(cell, method, level))
            restored = _restored(cell) if method == "mode" else {}
            name = cell.records[0].spec.objective.name
            line = Line(shown_name(cell, objective), name, method, psnr, ssim, doubtful, restored)
            failed = method == "mean" and len(cell.completed) < len(cell.records)
            if failed or any(not isinstance(values, str) for values in psnr.values()):
                found.append(line)
    return sorted(found, key=lambda line: line.order)


def denoising_frame(records: Sequence[Record]) -> pd.DataFrame:
    """The lines in text: who, by which method, PSNR with the change against non-local means, SSIM."""
    everything = denoising_lines(records)
    ruler = next((line for line in everything if line.name == RULER), None)
    shown = []
    for line in everything:
        about = {"objective": line.objective, "method": METHODS[line.method]}
        about |= {f"PSNR, σ = {level}": _decibels(line, ruler, level) for level in LEVELS}
        about |= {f"SSIM, σ = {level}": _mean(line.ssim[level], 3) for level in LEVELS}
        if any(each.restored for each in everything):
            about |= {heading: _over_start(line, task) for task, heading in RESTORED.items()}
        shown.append(about)
    return pd.DataFrame([*shown, *published_lines(records[0].spec.dataset.label)] if shown else [])


def published_lines(dataset: str, path: Path = PUBLISHED) -> list[dict[str, str]]:
    """What papers report on the set of images that a data set's label names, "photos[held_out=bsd68]"; mostly nothing.

    Each line says where the values are from, as far as that is known.
    """
    held_out = split_reference(dataset)[1].get("held_out")
    if held_out is None or not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"].lower() == str(held_out)]
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        line = {"objective": f"{row['method']} (published; {row['provenance']})", "method": row["source"]}
        line |= {f"{quality}, σ = {level}": "n/a" for quality in ("PSNR", "SSIM") for level in LEVELS}
        found.setdefault(row["method"], line)[row["metric"]] = row["value"]
    return list(found.values())


def denoising_markdown(records: Sequence[Record]) -> str:
    """The table of a suite, one a data set, and how it is read; "" where nothing was denoised."""
    parts = []
    for dataset, on_it in by_dataset(records).items():
        text = denoising_frame(on_it)
        if len(text):
            images, n = _counts(on_it)
            parts += [f"**{dataset}**, {images} images, {n} seed{'s' * (n > 1)}:", tables.markdown_table(text)]
    about = behind_a_filter(records)
    about += [ABOUT_RESTORED] * any("2× super-resolution" in part for part in parts)
    return "\n\n".join([*parts, READING, *about]) if parts else ""


def behind_a_filter(records: Sequence[Record], wanted: str = "*") -> list[str]:
    """A sentence for each reference of a suite's questions that removes less noise than a Gaussian filter.

    At such a budget it has hardly learned, and what is ahead of it need not be good.

    Args:
        wanted: of which questions, by name, with * for any text.
    """
    found: list[str] = []
    for on_it in by_dataset(records).values():
        lines = denoising_lines(on_it)
        shown = {record.spec.entry: record.objective for record in on_it}
        for contrast in dict.fromkeys(c for record in on_it for c in record.spec.contrasts):
            if not fnmatchcase(contrast.name, wanted):
                continue
            primary = next(record.spec.primary for record in on_it)
            method, _, level = (contrast.metric or primary).removeprefix("denoising_psnr.").rpartition("_")
            both = {FLOOR: "classical", shown.get(contrast.reference, ""): method}
            values = [line.psnr[int(level)] for name, how in both.items() for line in lines
                      if method in METHODS and line.method == how and name in (line.name, line.objective)]  # fmt: skip
            if len(values) != 2 or any(isinstance(value, str) for value in values):
                continue
            floor, own = (float(np.mean(np.asarray(value))) for value in values)
            if own < floor:
                name = re.sub(r" +", " ", display_name(shown[contrast.reference]))
                found.append(f"{name}, {own:.2f} dB at σ = {level}, is behind a Gaussian filter, {floor:.2f} dB.")
    return list(dict.fromkeys(found))


def gain(line: Line, ruler: Line, level: int) -> Interval:
    """The mean over images of the change in PSNR against a ruler, in decibels, with Student's 95 % interval."""
    ours, theirs = line.psnr[level], ruler.psnr[level]
    if isinstance(ours, str) or isinstance(theirs, str):
        return Interval(None, None, None, 0, "n/a")
    return t_interval([float(v) for v in ours - theirs])


def _restored(cell: Cell) -> dict[str, tuple[np.ndarray | str, np.ndarray | str]]:
    if not any(ref.startswith("restoration_psnr") for ref in _metrics(cell)):
        return {}
    return {
        task: (_by_image(cell, "restoration_psnr", task), _by_image(cell, "restoration_psnr", task, "start"))
        for task in RESTORED
    }


def _over_start(line: Line, task: str) -> str:
    """PSNR, with the change against the first guess, image by image."""
    ours, start = line.restored.get(task, ("n/a", "n/a"))
    if isinstance(ours, str) or isinstance(start, str):
        return _mean(ours, 2)
    return f"{ours.mean():.2f}{_change(t_interval([float(v) for v in ours - start]))}"


def _metrics(cell: Cell) -> list[str]:
    return list(cell.records[0].spec.evaluation.metrics)


def _by_image(cell: Cell, metric: str, part: str, detail: str = "images") -> np.ndarray | str:
    """The metric of each image, averaged over the seeds; a word if any planned seed has none."""
    seeds = []
    for record in cell.records:
        key = preferred(record.values, metric, part) if record.status == "ok" else None
        images = record.value(key).detail.get(detail)
        if not images:
            return cell.word(key)
        seeds.append(images)
    mean: np.ndarray = np.asarray(seeds, dtype=np.float64).mean(0)
    return mean


def _doubtful(cell: Cell, method: str, level: int) -> bool:
    """Whether a planned seed's value is not certified, such as that of chains that have not met."""
    return any(cell.uncertified(MetricKey("denoising_psnr", f"{method}_{level}", weights)) for weights in PREFERRED)


def _decibels(line: Line, ruler: Line | None, level: int) -> str:
    text = _mean(line.psnr[level], 2) + "?" * (level in line.doubtful)
    if ruler is None or line is ruler or isinstance(line.psnr[level], str):
        return text
    return text + _change(gain(line, ruler, level))


def _change(change: Interval) -> str:
    if change.mean is None or change.low is None or change.high is None:
        return ""
    return f" ({change.mean:+.2f}; {change.low:+.2f} to {change.high:+.2f})"


def _mean(values: np.ndarray | str, digits: int) -> str:
    return values if isinstance(values, str) else f"{values.mean():.{digits}f}"


def _counts(records: Sequence[Record]) -> tuple[int, int]:
    """Images a run, and seeds."""
    details = [e.detail.get("images") for r in records for e in r.values.values()]
    return next((len(images) for images in details if images), 0), len({record.spec.seed for record in records})
