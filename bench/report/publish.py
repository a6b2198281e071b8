"""Publishing: the rows and figures of a store become committed rows, pictures and pages of results."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from shutil import copyfile
from typing import NamedTuple

import pandas as pd

from bench.common import fingerprint
from bench.common.errors import UsageError, no_runs
from bench.common.run_spec import BY_CLOCK, RunSpec
from bench.report.figures import proxies
from bench.report.figures.layout import use_theme
from bench.report.figures.plots import draw_figures, slug
from bench.report.figures.save import described, save
from bench.report.markdown.blocks import marked, refresh_page
from bench.report.markdown.pages import PROXIES, add_rows, all_records, parts_to_keep, write_pages
from bench.report.markdown.replication_page import add_other_seeds
from bench.results.committed_rows import SUFFIX
from bench.results.proxy_correlation import over_suites, rank_correlations
from bench.results.records import Record, read_records
from bench.results.store import Store

OF_A_DATASET, OF_ROWS = ("densities", "samples"), ("cost", "verdict")


class Published(NamedTuple):
    """What became of a store: the files that changed, and the runs left out as more of their kind are committed."""

    changed: list[Path]
    left_out: list[Record]


def publish(root: Path, folder: Path) -> Published:
    """Adds the suites of a store to a folder of results and renders its pages again.

    An entry on a data set of which fewer runs are finished here than are committed already stays as it is committed.

    Raises:
        UsageError: if the store holds no run, or none that may be added, or the folder cannot be written to.
    """
    store = Store(root)
    records = read_records(store)
    if not records:
        raise no_runs(root)
    left_out = parts_to_keep(records, folder)
    kept = set(map(id, left_out))
    records = [record for record in records if id(record) not in kept]
    if not records:
        raise UsageError(
            f"a store replaces rows of which it has as many finished; '{root}' has fewer of every entry than "
            f"'{folder}'; finish it by the command that began it, or publish into another folder with --out"
        )
    suites = add_rows(records, folder)
    committed = all_records(folder)
    pictures = [
        path
        for name in suites
        for path in _pictures(store, _of(records, name), _of(committed, name), folder / "pictures")
    ]
    changed = [*(folder / "data" / f"{name}{SUFFIX}" for name in suites), *pictures, *render(folder)]
    return Published(changed, left_out)


def publish_other_seeds(root: Path, folder: Path) -> list[Path]:
    """Keeps the runs of a store as a replication of committed verdicts on other seeds; returns the files that changed.

    Raises:
        UsageError: if the store holds no run, the committed rows cannot be compared with it, or the folder cannot be
            written to.
    """
    records = read_records(Store(root))
    if not records:
        raise no_runs(root)
    return [*add_other_seeds(records, folder), *render(folder)]


def render(folder: Path) -> list[Path]:
    """Renders the pages of a folder of results, the picture of its index, and the marked tables of a README beside it.

    Returns what changed.

    Raises:
        UsageError: if a file of rows cannot be read, or a mark in the README is not as it must be.
    """
    committed = all_records(folder)
    drawn = _proxies(committed, folder / PROXIES)
    changed = [*drawn, *write_pages(folder)]  # a page links to what is there
    readme = folder.absolute().parent / "README.md"
    if readme.is_file() and marked(readme):
        before = readme.read_bytes()
        refresh_page(readme, committed)
        changed += [readme] * (readme.read_bytes() != before)
    return changed


def proxies_up_to_date(folder: Path) -> bool:
    """Whether the picture of proxies is of the rows that a folder of results holds; true where they allow none."""
    runs = over_suites(all_records(folder))
    return rank_correlations(runs).empty or described(folder / PROXIES) == _about(runs)


def _proxies(committed: Sequence[Record], path: Path) -> list[Path]:
    """Draws the picture of proxies anew if it is not of these rows; it says in its description of which it is."""
    runs = over_suites(committed)
    if described(path) == _about(runs):
        return []
    use_theme()
    drawn = proxies.figure(runs)
    return [] if drawn is None else [save(drawn, path, _about(runs))]


def _about(runs: pd.DataFrame) -> str:
    digest = fingerprint.digest(runs.to_csv(index=False, float_format="%.6g"))
    return f"every committed run of a suite that ranks by a likelihood, rows {digest}"


def _of(records: Sequence[Record], suite: str) -> list[Record]:
    return [record for record in records if record.spec.suite == suite]


def _pictures(store: Store, records: Sequence[Record], committed: Sequence[Record], folder: Path) -> list[Path]:
    """The figures of one suite that a page shows, in place of those that it had.

    Those of a data set that the store lacks stay; what is drawn from rows alone is drawn from all that are committed.
    """
    suite = records[0].spec.suite
    folder.mkdir(parents=True, exist_ok=True)
    elsewhere = {record.dataset for record in committed} - {record.dataset for record in records}
    kept = {f"{suite}-{kind}-{slug(dataset)}.png" for kind in OF_A_DATASET for dataset in elsewhere}
    for old in folder.glob(f"{suite}-*.png"):
        if old.name not in kept:
            old.unlink()
    with tempfile.TemporaryDirectory() as drawn:
        paths = draw_figures(store, records, Path(drawn))
        if elsewhere:
            paths = [*paths, *draw_figures(store, committed, Path(drawn), only=OF_ROWS)]
        chosen = {p for p in paths if any(fnmatch(p.stem, f"{suite}-{kind}") for kind in _wanted(records[0].spec))}
        return [Path(copyfile(path, folder / path.name)) for path in sorted(chosen)]


def _wanted(spec: RunSpec) -> list[str]:
    """The figures that a page of runs like this one shows, as patterns.

    Densities illustrate a ranking. After equal time they look like those after equal FLOPs, and seconds are no axis
    where a machine's pace changes.
    """
    if spec.track in BY_CLOCK:
        return ["verdict", "samples-*"]
    of_data = [kind for kind in OF_A_DATASET if kind != "densities" or spec.ranked]
    return ["learning-curves-steps", *OF_ROWS, *(f"{kind}-*" for kind in of_data)]
