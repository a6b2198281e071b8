"""Marked tables inside a Markdown page that a person writes, made from rows.

<!-- bench:KIND SUITE -->
...
<!-- bench:end -->

What stands between the two lines is replaced; all else stays. KIND is `headline` (the first of the ranking), `ranking`,
`comparison` (with the suite's reference), `samples`, `denoising` or `weights`. Claims stand over several suites, and
may be of some questions alone: <!-- bench:claims SUITE,SUITE A* -->.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.common.errors import UsageError
from bench.report.markdown.sections import headline, weights_table
from bench.results.claims import claims_markdown
from bench.results.denoising_table import denoising_markdown
from bench.results.leaderboard import leaderboard_frame
from bench.results.records import Record
from bench.results.reference_comparison import comparison_markdown
from bench.results.samples_table import samples_markdown
from bench.results.standings import board_markdown, provenance

KINDS: dict[str, Callable[[Sequence[Record]], str]] = {
    "headline": headline,
    "ranking": lambda records: board_markdown(leaderboard_frame(records)),
    "comparison": comparison_markdown,
    "samples": lambda records: samples_markdown(records, {}),
    "denoising": denoising_markdown,
    "weights": weights_table,
}
OVER_SUITES: dict[str, Callable[[Mapping[str, Sequence[Record]], str], str]] = {"claims": claims_markdown}
_MARK = re.compile(r"^<!-- bench:(?P<words>[^>]*?) -->$")
END = "end"


def refresh_page(page: Path, records: Sequence[Record]) -> list[str]:
    """Writes every marked table of a page again whose suite is among the records.

    Returns:
        A sentence for each block that stays as it was, with the reason.

    Raises:
        UsageError: if the page cannot be read, or a mark is not as it must be; the page is then left as it is.
    """
    text, stays = refresh_text(page, records), []
    suites = {record.spec.suite for record in records}
    for kind, suite in marked(page):
        if not suites & set(_named(suite)):
            stays.append(f"there is no run of suite {suite}: its {kind} in {page.name} stays as it was")
    page.write_bytes(text.encode())
    return stays


def refresh_text(page: Path, records: Sequence[Record]) -> str:
    """The page's text with every marked table made again whose suite is among the records.

    Raises:
        UsageError: if the page cannot be read, or a mark is not as it must be.
    """
    suites: dict[str, list[Record]] = {}
    for record in records:
        suites.setdefault(record.spec.suite, []).append(record)
    lines: list[str] = []
    for head, inside, end in _parts(page):
        lines.append(head)
        if end is None:
            continue
        kind, about = _words(head)
        chosen = {name: suites.get(name, []) for name in _named(about)}
        if any(chosen.values()):
            made = f"\n{_made(kind, about, chosen)}"
            # lines end as those of the page do
            inside = [line + "\r" * head.endswith("\r") for line in made.split("\n")]
        lines += [*inside, end]
    return "\n".join(lines)


def _made(kind: str, about: str, chosen: Mapping[str, Sequence[Record]]) -> str:
    for name, records in chosen.items():
        if len({record.board for record in records}) > 1:
            raise UsageError(f"suite {name} was run on several tracks or devices; a marked table is of one")
    if kind in OVER_SUITES:
        return OVER_SUITES[kind](chosen, about.partition(" ")[2] or "*")
    (records,) = chosen.values()
    if kind == "headline":  # at the suite's own settings
        records = [record for record in records if not record.spec.tuned]
    return f"{KINDS[kind](records)}\n\n{provenance(records)}"


def _named(about: str) -> list[str]:
    """The suites that a mark names."""
    return about.partition(" ")[0].split(",")


def marked(page: Path) -> list[tuple[str, str]]:
    """(kind, suite) of every marked table of a page; of claims all that follows the kind.

    Raises:
        UsageError: if the page cannot be read, or a mark is not as it must be.
    """
    return [_words(head) for head, _, end in _parts(page) if end is not None]


def _parts(page: Path) -> Iterator[tuple[str, list[str], str | None]]:
    """Lines outside of blocks, each with None; and blocks: the first line, those inside, the last."""
    try:
        # as bytes, and by "\n" alone: whatever else ends a line somewhere is the writer's
        lines = page.read_bytes().decode().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"a page must be a readable file; '{page}': {error}") from None
    head, opened, inside = "", 0, list[str]()
    for number, line in enumerate(lines, start=1):
        mark = _MARK.match(line.lstrip("\ufeff").strip())
        ends = mark is not None and mark["words"] == END
        if mark is None:
            if head:
                inside.append(line)
            else:
                yield line, [], None
        elif ends and head:
            yield head, inside, line
            head, inside = "", []
        elif ends:
            raise UsageError(f"{page.name}:{number}: an end mark without a begin mark; delete it, or add the other")
        elif head:
            raise UsageError(
                f"{page.name}:{opened}: this table has no end mark before line {number}; add one: <!-- bench:end -->"
            )
        else:
            _check(mark["words"], f"{page.name}:{number}")
            head, opened = line, number
    if head:
        raise UsageError(f"{page.name}:{opened}: this table has no end mark; add one: <!-- bench:end -->")


def _check(words: str, where: str) -> None:
    kind, _, about = words.partition(" ")
    named = _named(about)
    fits = all(named) and (kind in OVER_SUITES or (kind in KINDS and len(named) == 1 and " " not in about))
    if not fits:
        raise UsageError(
            f"{where}: a mark is <!-- bench:KIND SUITE -->, KIND one of {', '.join(KINDS)}, or "
            f"<!-- bench:{next(iter(OVER_SUITES))} SUITE,SUITE -->; got '{words}'"
        )


def _words(head: str) -> tuple[str, str]:
    mark = _MARK.match(head.lstrip("\ufeff").strip())
    assert mark is not None
    kind, _, suite = mark["words"].partition(" ")
    return kind, suite
