"""Marked tables inside a page that a person writes: only what stands between two marks ever changes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.common.errors import UsageError
from bench.report.markdown.blocks import KINDS, marked, refresh_page, refresh_text
from bench.results.records import Record
from tests.helpers.store_builder import Shelf

END = "<!-- bench:end -->"
LINES = ["", "# A title", "words", "| a | b |", "<!-- a remark -->", "```", "- ü ∇ ‖x‖", "    code", "* * *"]


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    shelf = Shelf(tmp_path / "store")
    shelf.entry("steady", 0.5, scale=0.1)
    shelf.entry("other", 1.5, scale=0.1)
    return shelf.records()


def page(folder: Path, *lines: str) -> Path:
    path = folder / "page.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def begin(kind: str = "ranking", suite: str = "toy") -> str:
    return f"<!-- bench:{kind} {suite} -->"


@pytest.mark.parametrize("seed", range(40))
def test_hand_written_text_never_changes(seed: int, records: list[Record], tmp_path: Path) -> None:
    chance = random.Random(seed)
    texts = [[chance.choice(LINES) for _ in range(chance.randrange(6))] for _ in range(4)]
    old = [[chance.choice(LINES) for _ in range(chance.randrange(4))] for _ in range(3)]
    blocks = [[begin(chance.choice(list(KINDS))), *inside, END] for inside in old]
    path = page(tmp_path, *[line for k in range(3) for line in (*texts[k], *blocks[k])], *texts[3])
    refresh_page(path, records)
    left: list[list[str]] = [[]]
    for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n"):
        if line.startswith("<!-- bench:") and line != END:
            left.append([])
        elif line == END:
            left[-1] = []
        else:
            left[-1].append(line)
    assert left == texts


def test_a_table_is_made_from_rows_and_making_it_twice_changes_nothing(records: list[Record], tmp_path: Path) -> None:
    path = page(tmp_path, "before", begin(), "| stale |", END, "after")
    assert refresh_page(path, records) == []
    once = path.read_text(encoding="utf-8")
    assert "| steady" in once
    assert "stale" not in once
    assert "10 of 10 runs completed" in once
    refresh_page(path, records)
    assert path.read_text(encoding="utf-8") == once == refresh_text(path, records)


def test_a_suite_without_rows_keeps_its_table_and_is_named(records: list[Record], tmp_path: Path) -> None:
    path = page(tmp_path, begin(suite="else"), "| kept |", END)
    assert refresh_page(path, records) == ["there is no run of suite else: its ranking in page.md stays as it was"]
    assert "| kept |" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((begin(), "| a |", "a chapter"), r"page.md:1: this table has no end mark; add one"),
        (
            (begin(), "| a |", "a chapter", begin("samples"), END),
            r"page.md:1: .* no end mark before line 4",
        ),
        (("words", END), r"page.md:2: an end mark without a begin mark"),
        ((begin(), END, END), r"page.md:3: an end mark without a begin mark"),
        ((begin("verdicts"), END), r"a mark is <!-- bench:KIND SUITE -->, KIND one of headline"),
        (("<!-- bench:ranking -->", END), r"a mark is <!-- bench:KIND SUITE -->"),
        (("<!-- bench:ranking toy more -->", END), r"a mark is <!-- bench:KIND SUITE -->"),
    ],
)
def test_a_wrong_mark_is_refused_and_the_page_left_byte_for_byte(
    lines: tuple[str, ...], message: str, records: list[Record], tmp_path: Path
) -> None:
    path = page(tmp_path, *lines)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=message):
        refresh_page(path, records)
    assert path.read_bytes() == before


def test_a_page_that_cannot_be_read_is_one_clear_line(records: list[Record], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a page must be a readable file"):
        marked(tmp_path / "nowhere.md")
    (tmp_path / "latin.md").write_bytes(b"caf\xe9\n")
    with pytest.raises(UsageError, match="a page must be a readable file"):
        refresh_page(tmp_path / "latin.md", records)
