"""Marked tables inside a page that a person writes: only what stands between two marks ever changes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.common.errors import UsageError
from bench.common.run_spec import EvaluationSpec
from bench.report.markdown.blocks import KINDS, marked, refresh_page, refresh_text
from bench.results.denoising_table import LEVELS
from bench.results.records import Record
from tests.helpers.store_builder import Shelf, estimate

END = "<!-- bench:end -->"
LINES = ["", "# A title", "words", "| a | b |", "<!-- a remark -->", "```", "- ü ∇ ‖x‖", "    code", "* * *"]
# the line ends of other systems and of Unicode, and what is nearly a mark
PIECES = ["word", " ", "\n", "\r\n", "\r", "\t", "\u2028", "\x0c", "\x85", "\x00", "e\u0301", "<!--bench:end-->"]
PIECES += ["<!-- bench:end --> after", "> <!-- bench:ranking toy -->", "before <!-- bench:end -->"]


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


def around(chance: random.Random) -> str:
    """Random text without a mark: nothing, or whole lines."""
    text = "".join(chance.choices(PIECES, k=chance.randrange(30)))
    kept = [line for line in text.split("\n") if line.strip() not in (begin(), END)]
    return "\n".join(kept) + "\n" if text else ""


@pytest.mark.parametrize("seed", range(60))
def test_not_a_byte_around_a_table_changes(seed: int, records: list[Record], tmp_path: Path) -> None:
    chance, path = random.Random(seed), tmp_path / "page.md"
    before, after = around(chance), around(chance) + chance.choice(["", "no line end"])
    path.write_bytes(f"{before}{begin()}\n{around(chance)}{END}\n{after}".encode())
    assert refresh_page(path, records) == []
    text = path.read_bytes().decode()
    assert text.startswith(f"{before}{begin()}\n")
    assert text.endswith(f"\n{END}\n{after}")
    assert "| steady" in text.removeprefix(before).removesuffix(after)
    path.write_bytes((before + after).encode())
    assert refresh_page(path, records) == []
    assert path.read_bytes() == (before + after).encode()


def test_the_lines_of_a_table_end_as_those_of_its_page_do(records: list[Record], tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_bytes(f"before\r\n{begin()}\r\n{END}\r\nafter\r\n".encode())
    refresh_page(path, records)
    assert b"| steady" in path.read_bytes()
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("headline", "| better"),
        ("ranking", "(#1)"),
        ("comparison", "`better` against `usual`"),
        ("weights", "KL, last"),
        ("samples", "own sampler"),
        ("denoising", "20.50"),
    ],
)
def test_every_kind_of_table_is_made(kind: str, word: str, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "store")
    if kind in ("samples", "denoising"):
        fid = estimate(12.5, n=40, unit="", detail={"extractor": "digits-0123abcd"})
        denoised = estimate(20.5, unit="dB", better="higher", detail={"images": [20.0, 21.0]})
        metrics = {"fid.own": {"ema": fid}, **{f"denoising_psnr.mean_{level}": {"ema": denoised} for level in LEVELS}}
        shelf.ran("painter", 0, None, metrics=metrics, evaluation=EvaluationSpec(metrics={"denoising_psnr": "sha"}))
    else:
        for name, mean in (("usual", 2.0), ("better", 1.0)):
            shelf.entry(name, mean, reference="usual")
    path = page(tmp_path, begin(kind), END)
    assert refresh_page(path, shelf.records()) == []
    assert word in path.read_text(encoding="utf-8")


def test_a_headline_and_what_stands_below_it_are_of_default_settings_alone(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "store")
    shelf.entry("usual", 1.0)
    shelf.entry("usual", 0.5, tuned=True)
    path = page(tmp_path, begin("headline"), END)
    refresh_page(path, shelf.records())
    text = path.read_text(encoding="utf-8")
    assert "tuned" not in text
    assert "5 of 5 runs completed" in text


def test_where_nothing_is_ranked_there_is_no_mean_rank(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "store")
    for name in ("one", "two"):
        shelf.entry(name, 1.0, ranked=False)
    path = page(tmp_path, begin(), END)
    refresh_page(path, shelf.records())
    text = path.read_text(encoding="utf-8")
    assert text.count("| not ranked |") == 2
    assert "nan" not in text


def test_the_table_of_weights_says_which_values_are_missing_or_not_certified(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "store")
    shelf.entry("whole", 1.0)
    shelf.entry("lame", 1.0, seeds=4)
    shelf.ran("lame", 4, None, status="diverged", reason="the loss is not finite")
    shelf.entry("rough", 1.0, certified=False)
    path = page(tmp_path, begin("weights"), END)
    refresh_page(path, shelf.records())
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    shown = {line.split("|")[1].strip(): line for line in lines}
    assert [shown[name].rpartition(")")[2].strip(" |") for name in ("whole", "lame", "rough")] == ["", ", 4 of 5", "?"]


def test_a_table_is_of_one_track_and_device(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "store")
    for device in ("cpu", "cuda"):
        shelf.entry("good", 1.0, device=device)
    path = page(tmp_path, begin(), "| kept |", END)
    with pytest.raises(UsageError, match="several tracks or devices"):
        refresh_page(path, shelf.records())
    assert "| kept |" in path.read_text(encoding="utf-8")


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
