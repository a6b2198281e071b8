"""The pages of results: one a suite, from its committed rows, and an index of them.

FOLDER/data/<suite>.csv.xz          rows of a suite (`bench.results.committed_rows`)
FOLDER/submissions/<name>/          entries of others, which `submit` packed
FOLDER/data/reference/<data set>.csv  image metrics of sets whose quality is known, where a suite has images
FOLDER/replication/                 rows on other seeds (`bench.report.markdown.replication_page`)
FOLDER/pictures/<suite>-<figure>.png  figures of a suite
FOLDER/pictures/proxies.png         every metric against the likelihood, over all suites
FOLDER/<suite>.md, FOLDER/RESULTS.md  rendered whole: nobody edits them
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from bench.common.plugin_source import declared_needs, names
from bench.report.markdown import replication_page
from bench.report.markdown.blocks import refresh_text
from bench.report.markdown.other_track import other_tracks
from bench.report.markdown.render import render
from bench.report.markdown.sections import READING, board_sections, log_z_table, weights_table
from bench.results import tables
from bench.results.boards import group_boards
from bench.results.committed_rows import SUFFIX, read_rows, write_rows
from bench.results.labels import display_name
from bench.results.proxy_correlation import over_suites, rank_correlations, which_to_believe
from bench.results.records import Record
from bench.results.samples_table import ReferenceSets, read_reference_sets
from bench.results.standings import provenance
from bench.results.submission_files import submitted_records
from bench.suites.files import every_objective, suite_descriptions, suite_version

INDEX = "RESULTS.md"
PROXIES = "pictures/proxies.png"
DATA_ALONE, ON_A_GRID, OF_THE_LAW = "data alone", "data in one or two dimensions", "the law of the data"
WEIGHTS_METRIC = "kl"


def page_texts(folder: Path) -> dict[Path, str]:
    """Every page of a folder of results as its rows give it, by path.

    Raises:
        UsageError: if a file of rows cannot be read.
    """
    suites: dict[str, list[Record]] = {}
    for record in all_records(folder):
        suites.setdefault(record.spec.suite, []).append(record)
    reference = {p.stem: read_reference_sets(p) for p in sorted((folder / "data" / "reference").glob("*.csv"))}
    texts = {folder / f"{name}.md": _suite_page(name, suites, folder, reference) for name in suites}
    return texts | replication_page.replication_texts(folder) | {folder / INDEX: _index(suites, folder)}


def write_pages(folder: Path) -> list[Path]:
    """Writes the pages of a folder of results; returns those that changed.

    Raises:
        UsageError: if a file of rows cannot be read.
    """
    changed = []
    for path, text in page_texts(folder).items():
        if not _is(path, text):
            path.write_bytes(text.encode())
            changed.append(path)
    return changed


def stale_pages(folder: Path, pages: Iterable[Path] = ()) -> list[Path]:
    """The pages of a folder of results, and other pages with marked tables, that are not as the rows give them."""
    texts = page_texts(folder) | {page: refresh_text(page, all_records(folder)) for page in pages}
    return [path for path, text in texts.items() if not _is(path, text)]


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_bytes() == text.encode()


def all_records(folder: Path) -> list[Record]:
    """The committed rows of every suite, and those of submissions to it."""
    own = [record for path in sorted((folder / "data").glob("*" + SUFFIX)) for record in read_rows(path)]
    return [*own, *submitted_records(folder)]


def parts_to_keep(records: Iterable[Record], folder: Path) -> list[Record]:
    """The records whose entry on a data set has fewer finished runs among them than a folder of results has already.

    Raises:
        UsageError: if a file of rows cannot be read.
    """
    suites: dict[str, list[Record]] = {}
    for record in records:
        suites.setdefault(record.spec.suite, []).append(record)
    kept = []
    for name, chosen in suites.items():
        done, had = _finished(chosen), _finished(_of_their_version(_committed(name, folder), chosen))
        kept += [record for record in chosen if had[_part(record)] > done[_part(record)]]
    return kept


def add_rows(records: Iterable[Record], folder: Path) -> list[str]:
    """Writes the rows of each suite among the records into a folder of results; returns the suites' names.

    Rows that are there already stay if they are of the same version of the suite, and of an entry, a data set, or
    settings, that the records lack: a suite may be completed part by part, on several machines.

    Raises:
        UsageError: if the folder cannot be written to, or holds something else under a suite's name.
    """
    suites: dict[str, list[Record]] = {}
    for record in records:
        suites.setdefault(record.spec.suite, []).append(record)
    for name, chosen in suites.items():
        replaced = set(map(_part, chosen))
        others = [r for r in _of_their_version(_committed(name, folder), chosen) if _part(r) not in replaced]
        write_rows([*others, *chosen], _rows_of(name, folder))
    return list(suites)


def _rows_of(suite: str, folder: Path) -> Path:
    return folder / "data" / f"{suite}{SUFFIX}"


def _committed(suite: str, folder: Path) -> list[Record]:
    path = _rows_of(suite, folder)
    return read_rows(path) if path.is_file() else []


def _of_their_version(earlier: Iterable[Record], chosen: Iterable[Record]) -> list[Record]:
    versions = {record.spec.suite_version for record in chosen}
    return [record for record in earlier if record.spec.suite_version in versions]


def _part(record: Record) -> Hashable:
    """What is published as one: an entry on a data set."""
    # reference fits come with default and with tuned runs alike, and stand for none of either
    return record.board, record.dataset, record.spec.entry, record.spec.tuned, record.spec.role


def _finished(records: Iterable[Record]) -> Counter[Hashable]:
    return Counter(_part(record) for record in records if record.status != "missing")


def _suite_page(
    name: str, suites: Mapping[str, list[Record]], folder: Path, reference: Mapping[str, ReferenceSets]
) -> str:
    records = suites[name]
    boards = group_boards(records)
    weights = any(key.metric == WEIGHTS_METRIC for record in records for key in record.values)
    other_seeds = folder / replication_page.FOLDER / f"{name}{SUFFIX}"
    return render(
        "suite.md",
        suite=name,
        about=suite_descriptions().get(name, "A suite that does not come with the project."),
        boards=[
            (
                board_sections(board, reference),
                [
                    {"title": path.stem.removeprefix(f"{board_name}-"), "link": f"pictures/{path.name}"}
                    for path in sorted((folder / "pictures").glob(f"{board_name}-*.png"))
                ],
            )
            for board_name, board in boards.items()
        ],
        warnings=[warning for warning in (_outdated(name, records), _absent(name, records)) if warning],
        other_track=other_tracks(name, suites),
        weights=weights_table(records) if weights else "",
        log_z=log_z_table(records),
        replication=f"{replication_page.FOLDER}/{name}.md" if other_seeds.is_file() else "",
        reading=READING,
    )


def _outdated(name: str, records: Iterable[Record]) -> str:
    """What to say of rows that the suite would not make today; "" where it would."""
    now, then = suite_version(name), max(record.spec.suite_version or 1 for record in records)
    if now is None or now <= then:
        return ""
    return (
        f"**These rows are of protocol version {then}. The suite is at version {now}, whose runs are not published "
        "yet; CHANGELOG.md says what was wrong or changed.**"
    )


def _absent(name: str, records: Iterable[Record]) -> str:
    """What to say of a suite of every objective of which some have no rows; "" where all have."""
    known = every_objective(name)
    found = {record.spec.objective.name for record in records if not record.spec.reference_fit}
    if not (absent := [each for each in known if each not in found]):
        return ""
    return (
        f"**{len(absent)} of the {len(known)} objectives of this suite have not been run yet**, and a rank is one "
        f"among the others: {', '.join(map(display_name, absent))}."
    )


def _index(suites: Mapping[str, list[Record]], folder: Path) -> str:
    about = suite_descriptions()
    lines = [
        {
            "suite": f"[{name}]({name}.md)",
            "about": about.get(name, ""),
            "objectives": str(len({r.objective for r in records if not r.spec.classical})),
            "data sets": str(len({r.dataset for r in records})),
            "runs": provenance(records).strip("*"),
        }
        for name, records in suites.items()
    ]
    empty = pd.DataFrame(columns=["suite"])
    return render(
        "RESULTS.md",
        suites=tables.markdown_table(pd.DataFrame(lines) if lines else empty),
        without_rows=[name for name in about if name not in suites and about[name] != ""],
        proxies=_proxies([record for records in suites.values() for record in records]),
        picture=PROXIES if (folder / PROXIES).is_file() else "",
    )


def _proxies(records: list[Record]) -> dict[str, str]:
    """Which metric orders runs as a likelihood does: a sentence and a table; empty where there is too little to say."""
    found = rank_correlations(over_suites(records))
    asks = {name: _asks(declared_needs(name)) for name in names("metrics")}
    sentence = which_to_believe(found, [name for name, asked in asks.items() if asked == DATA_ALONE])
    if not sentence:
        return {}
    found = found.assign(asks=[asks.get(name, "") for name in found["metric"]])
    shown = found.assign(**{name: found[name].map("{:+.2f}".format) for name in ("correlation", "lowest", "highest")})
    heads = {"correlation": "rank correlation, mean", "datasets": "data sets"}
    return {"sentence": sentence, "table": tables.markdown_table(shown.rename(columns=heads))}


def _asks(needs: frozenset[str]) -> str:
    """What a user must have for a metric with these needs."""
    if needs <= {"samples"}:
        return DATA_ALONE
    return ON_A_GRID if needs <= {"samples", "grid"} else OF_THE_LAW
