"""Rows of a suite as a file that git can keep: whatever tables and pages need of a store, and nothing that moves."""

from __future__ import annotations

import gzip
import lzma
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.common.errors import UsageError
from bench.common.run_spec import BudgetSpec, EvaluationSpec, NetworkSpec, ObjectiveSpec
from bench.regression.baseline import measured_baseline
from bench.report.markdown.leaderboard_page import leaderboard_markdown
from bench.results import committed_rows, leaderboard, store_comparison, tables
from bench.results.committed_rows import read_rows, write_rows
from bench.results.denoising_table import LEVELS, denoising_markdown
from bench.results.records import Record, records_of
from bench.results.reference_comparison import comparison_markdown
from bench.results.samples_table import samples_markdown
from bench.results.store import Planned
from tests.helpers.store_builder import NOISE, Shelf, estimate
from tests.helpers.toy_workers import toy_spec


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A suite with a reference, a control, one of every kind of end, and metrics of every shape."""
    found = Shelf(tmp_path / "store")
    for name, mean in (("usual", 2.0), ("better", 1.0), ("truth", 0.1)):
        for seed, noise in enumerate(NOISE):
            found.ran(name, seed, mean + noise / 3, reference="usual", control=name == "truth")
    found.ran("wild", 0, None, status="diverged", reason="the loss is not finite at step 7, twice", last_step=7)
    found.ran("broken", 0, None, status="error", reason='ValueError: "a, b"\ncannot be')
    found.ran("heavy", 0, None, status="skipped", reason="needs images", skip="needs images")
    found.plan("later", 0)
    found.ran("doubtful", 0, 0.5, certified=False, reason="")
    found.ran("lacking", 0, None, metrics={"kl": {"last": estimate(None, reason="not integrable, they say")}})
    found.ran("painter", 0, None, dataset="photos", metrics=dict(image_metrics()))
    return found


def image_metrics() -> Iterator[tuple[str, Any]]:
    for sampler, fid in (("own", 12.5), ("noise", 31.25)):
        yield (
            f"fid.{sampler}",
            {"ema": estimate(fid, n=40, unit="", detail={"extractor": "digits-0123abcd", "bounds": "from below"})},
        )
    for level in LEVELS:
        value = estimate(20.5, unit="dB", better="higher", stderr=0.25, detail={"images": [20.0, 21.0]})
        yield f"denoising_psnr.mean_{level}", {"best": value}


def kept(records: list[Record], tmp_path: Path) -> list[Record]:
    write_rows(records, tmp_path / "rows.csv")
    return read_rows(tmp_path / "rows.csv")


def test_the_same_records_give_the_same_bytes_and_so_does_what_was_read(shelf: Shelf, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.csv" for name in ("first", "second", "third"))
    write_rows(shelf.records(), first)
    write_rows(shelf.records(), second)
    write_rows(read_rows(first), third)
    assert first.read_bytes() == second.read_bytes() == third.read_bytes()


def test_rows_of_another_network_stay_apart_from_the_suites_own(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "store")
    shelf.entry("usual", 2.0)
    for seed, noise in enumerate(NOISE):
        other = NetworkSpec(name="mlp", label="mlp[width=7]", ref="mlp", given="width=7", params={"width": 7})
        shelf.ran("usual", seed, 1.0 + noise, network=other, other_network=True)
    records = shelf.records()
    read = kept(records, tmp_path)
    assert [(r.board, r.command) for r in read] == [(r.board, r.command) for r in records]
    assert len({r.board for r in read}) == 2
    assert [float(mean) for mean in leaderboard.leaderboard_frame(read)["mean"]] == pytest.approx([2.0, 1.0])


def test_a_byte_order_mark_is_no_part_of_a_column(shelf: Shelf, tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.csv", tmp_path / "marked.csv"
    write_rows(shelf.records(), plain)
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert read_rows(marked) == read_rows(plain)


def test_a_line_is_a_planned_run(shelf: Shelf, tmp_path: Path) -> None:
    write_rows(shelf.records(), tmp_path / "rows.csv")
    assert len(pd.read_csv(tmp_path / "rows.csv")) == len(shelf.records())


def test_every_table_of_the_rows_is_that_of_the_store(shelf: Shelf, tmp_path: Path) -> None:
    stored, read = shelf.records(), kept(shelf.records(), tmp_path)
    assert leaderboard_markdown(read) == leaderboard_markdown(stored)
    pd.testing.assert_frame_equal(leaderboard.leaderboard_frame(read), leaderboard.leaderboard_frame(stored))
    pd.testing.assert_frame_equal(tables.summary_frame(read), tables.summary_frame(stored))
    assert comparison_markdown(read) == comparison_markdown(stored) != ""
    on_photos = [[r for r in records if r.dataset == "photos"] for records in (read, stored)]
    assert samples_markdown(on_photos[0], {}) == samples_markdown(on_photos[1], {}) != ""


@pytest.mark.parametrize("name", ["wild", "broken", "heavy", "later", "doubtful", "lacking"])
def test_a_run_without_a_good_number_survives_with_its_reason(shelf: Shelf, tmp_path: Path, name: str) -> None:
    (before,) = (record for record in shelf.records() if record.objective == name)
    (after,) = (record for record in kept(shelf.records(), tmp_path) if record.objective == name)
    assert (after.status, after.reason, after.values) == (before.status, before.reason, before.values)
    assert (after.row is None) == (before.row is None)
    assert after.get("last_step") == before.get("last_step")


def test_an_image_s_own_quality_survives(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "store")
    planned = EvaluationSpec(metrics={"denoising_psnr": "sha"})
    shelf.ran("painter", 0, None, dataset="photos", metrics=dict(image_metrics()), evaluation=planned)
    stored = denoising_markdown(shelf.records())
    assert denoising_markdown(kept(shelf.records(), tmp_path)) == stored
    assert "20.50" in stored


def test_a_name_that_is_no_word_of_a_table_survives(tmp_path: Path) -> None:
    odd = ['a,"b"', "7", "true", "null", "ünïcode ½", "with\nline end"]
    rows = [(Planned.of(toy_spec(0, ObjectiveSpec(name=name, label=name, short_label=name))), None) for name in odd]
    assert [record.objective for record in kept(records_of(rows), tmp_path)] == odd


def test_what_a_run_was_asked_for_survives(tmp_path: Path) -> None:
    asked = ObjectiveSpec(
        name="descent",
        label="descent[k=1]",
        given="k=1",
        params={"k": 1, "rate": 0.1, "on": True, "mode": "a", "n": None},
    )
    spec = toy_spec(3, asked, suite_version=2, track="equal_flops", precision="bfloat16", reference="descent")
    spec = replace(spec, budget=BudgetSpec(steps=7, batch=5, flops=2e9), evaluation=EvaluationSpec(samples=40))
    (found,) = kept(records_of([(Planned.of(spec), None)]), tmp_path)
    assert found.run.cell_id == spec.cell_id
    assert (found.spec.objective, found.spec.budget) == (spec.objective, spec.budget)
    assert (found.spec.suite_version, found.spec.evaluation.samples) == (2, 40)
    assert (found.board, found.spec.command, found.spec.reference) == (
        records_of([(Planned.of(spec), None)])[0].board,
        spec.command,
        "descent",
    )


def test_where_somebodys_file_lay_is_not_written_down(tmp_path: Path) -> None:
    own = ObjectiveSpec(name="mine", label="mine", ref="/home/somebody/mine.py")
    write_rows(records_of([(Planned.of(toy_spec(0, own)), None)]), tmp_path / "rows.csv")
    assert "somebody" not in (tmp_path / "rows.csv").read_text(encoding="utf-8")
    assert read_rows(tmp_path / "rows.csv")[0].spec.entry == "mine (mine.py)"


def test_numbers_of_seven_digits_move_no_table(tmp_path: Path) -> None:
    draw = random.Random(0)
    shelf = Shelf(tmp_path / "store")
    for name in ("one", "two", "three"):
        for seed in range(4):
            shelf.ran(name, seed, 10 ** draw.uniform(-6, 6), reference="one")
    assert leaderboard_markdown(kept(shelf.records(), tmp_path)) == leaderboard_markdown(shelf.records())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "rows must be a readable file"),
        (b"objective,kl\ngood,1.0\n", "holds no rows of a suite"),
        (b"cell_id,spec.seed\nabc,not a number\n", "holds no rows of a suite"),
        (b"cell_id,spec.seed\nabc,1\n", "holds no rows of a suite"),
        (b"\xff\xfe\x00\x81", "holds no rows of a suite"),
        (b"cell_id,spec.seed,metrics.kl\nabc,1,2\n", "holds no rows of a suite"),
    ],
)
def test_a_file_that_holds_no_rows_is_one_clear_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "rows.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_off_is_no_suite(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_rows(shelf.records(), path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:40], encoding="utf-8")
    with pytest.raises(UsageError, match="holds no rows of a suite"):
        read_rows(path)


@pytest.mark.parametrize(("ending", "unpack"), [("gz", gzip.decompress), ("xz", lzma.decompress)])
def test_compressed_rows_are_the_same_rows_and_the_same_bytes_each_time(
    shelf: Shelf, tmp_path: Path, ending: str, unpack: Callable[[bytes], bytes]
) -> None:
    plain, packed, again = (tmp_path / name for name in ("rows.csv", f"rows.csv.{ending}", f"again.csv.{ending}"))
    for path in (plain, packed, again):
        write_rows(shelf.records(), path)
    assert read_rows(packed) == read_rows(plain)
    assert packed.read_bytes() == again.read_bytes()
    assert unpack(packed.read_bytes()) == plain.read_bytes()


@pytest.mark.parametrize("ending", ["gz", "xz"])
@pytest.mark.parametrize("harm", [lambda b: b[:-30], lambda b: b"rows", lambda b: b[:20] + b"\0" * 9 + b[29:]])
def test_compressed_rows_that_are_torn_are_one_clear_line(
    shelf: Shelf, tmp_path: Path, harm: Callable[[bytes], bytes], ending: str
) -> None:
    path = tmp_path / f"rows.csv.{ending}"
    write_rows(shelf.records(), path)
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(UsageError, match="rows must be a readable file") as caught:
        read_rows(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("xz", lzma.compress)])
def test_rows_that_unpack_to_more_than_a_suite_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(committed_rows, "MOST_BYTES", 1_000)
    path = tmp_path / f"rows.csv.{ending}"
    path.write_bytes(pack(b"0" * 100_000))
    with pytest.raises(UsageError, match="more than rows of a suite"):
        read_rows(path)


def test_rows_without_a_place_to_write_to_are_one_clear_line(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"rows need a place to write to; .*: give another"):
        write_rows(shelf.records(), tmp_path / "taken" / "rows.csv")


@pytest.mark.parametrize("sha", ["0123456789", "abcdef0123"])
def test_files_of_one_name_stay_two_entries_everywhere(tmp_path: Path, sha: str) -> None:
    mine = ObjectiveSpec(name="mine", label="mine", short_label="mine", ref="/home/me/a/mine.py", sha="0123456789")
    anchor = ObjectiveSpec(name="anchor", label="anchor")
    entries = [(anchor, 0.5), (mine, 0.1), (replace(mine, ref="/home/me/b/mine.py", sha=sha), 2.0)]
    row = {"status": "ok", "reason": "", "work": {"flops_per_step": 1.0}}
    stored = records_of(
        (
            Planned.of(toy_spec(seed, about, reference="anchor")),
            {**row, "metrics": {"kl": {"last": estimate(value * (1 + 0.0137 * seed + 0.0031 * seed**2 * value))}}},
        )
        for about, value in entries
        for seed in range(3)
    )
    write_rows(stored, tmp_path / "rows.csv")
    assert "/home/me" not in (tmp_path / "rows.csv").read_text(encoding="utf-8")
    read = read_rows(tmp_path / "rows.csv")
    write_rows(read, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "rows.csv").read_bytes()
    for records in (stored, read):
        board = leaderboard.leaderboard_frame(records)
        assert len(board) == 3
        assert board["n"].tolist() == [3, 3, 3]
        assert comparison_markdown(records) == comparison_markdown(stored)
        assert len(measured_baseline(records, "toy").cells) == 3
        assert len(store_comparison.compare_stores(stored, records)) == 3
        assert leaderboard_markdown(records) == leaderboard_markdown(stored)
