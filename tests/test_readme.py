"""Tables and pictures in a page come from rows, and nothing else of the page changes; stale pictures are found."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import readme, readme_pictures, table
from bench.errors import UsageError
from bench.store import Planned, Store

PAGE = """# A page

<!-- bench:spread one -->
old
<!-- bench:end -->

Words stay. <!-- bench:ranking two -->
kept
<!-- bench:end -->
"""

PICTURES = """
<!-- bench:picture one learning-curves-steps -->
![Curves](pictures/curves.png)
<!-- bench:end -->

<!-- bench:picture one page -->
![The page](pictures/page.png)
<!-- bench:end -->
"""
MADE_FROM = "python -m bench run --suite one, seeds 0, 1, 2: 3 of 3 runs succeeded; commit abcdef0123."


def row(kl: float) -> dict[str, Any]:
    estimate = {
        "value": kl,
        "stderr": None,
        "n": None,
        "certified": True,
        "reason": "",
        "better": "lower",
        "unit": "nats",
    }
    return {"status": "ok", "metrics": {"kl": {"last": estimate, "ema": {**estimate, "value": 2 * kl}}}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    spec = {"suite": "one", "track": "equal_steps", "device": "cpu", "dataset": {"label": "moons"}}
    spec["objective"] = {"label": "mine", "name": "mine", "params": {}, "control": False}  # type: ignore[assignment]
    spec["network"] = {"name": "mlp", "label": "mlp"}  # type: ignore[assignment]
    runs = [Planned("cell", {**spec, "seed": seed}) for seed in range(3)]
    store.write_plan(runs)
    for run, kl in zip(runs, (0.3, 0.1, 0.2), strict=True):
        attempt = store.begin(run, {"git_sha": "abcdef0123456789"})
        for step in (10, 20):
            attempt.append({"step": step, "flops": 1e9, "train_seconds": 0.1 * step, "kl_ema": kl})
        attempt.finish(row(kl))
    return store


def test_a_marked_table_is_made_from_rows_and_the_rest_stays(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    (sentence,) = readme.refresh(page, store)
    assert "no run of suite two: its ranking in page.md stays as it was" in sentence
    text = page.read_text()
    assert "0.2 (0.1 to 0.3)" in text
    assert "0.4 (0.2 to 0.6)" in text
    assert "seeds 0, 1, 2: 3 of 3 runs succeeded; commit abcdef0123" in text
    assert "old" not in text
    assert text.startswith("# A page\n")
    assert text.endswith(PAGE.partition("old\n<!-- bench:end -->")[2])


def test_refreshing_twice_changes_nothing_more(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    readme.refresh(page, store)
    once = page.read_text()
    readme.refresh(page, store)
    assert page.read_text() == once


def test_an_unknown_kind_of_table_is_refused_and_the_page_kept(store: Store, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("spread", "podium"))
    with pytest.raises(UsageError, match="no table of kind 'podium'; there are ranking, spread"):
        readme.refresh(page, store)
    assert "old" in page.read_text()


def test_what_stands_where_there_is_no_number_is_a_word(store: Store) -> None:
    assert "n/a" in readme.spread(table.read(store))


@pytest.fixture
def illustrated(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page whose pictures have been drawn from the store; the browser is a stand-in."""

    def photographed(page: Path, out: Path) -> str:
        assert "3 ok" in page.read_text()
        Image.new("RGB", (4, 4)).save(out)
        return ""

    monkeypatch.setattr(readme_pictures, "_photographed", photographed)
    page = tmp_path / "page.md"
    page.write_text(PICTURES + PAGE)
    readme.refresh(page, store)
    return page


def test_a_picture_is_drawn_again_and_says_of_which_runs_it_is(illustrated: Path) -> None:
    for name in ("curves", "page"):
        assert readme_pictures.says(illustrated.parent / "pictures" / f"{name}.png") == MADE_FROM
    assert illustrated.read_text().count("; commit abcdef0123.*") == 3
    assert "![Curves](pictures/curves.png)\n\n*`python -m bench run --suite one`" in illustrated.read_text()
    assert readme.stale(illustrated) == []


def test_a_stale_picture_is_found_without_the_store(illustrated: Path) -> None:
    picture = illustrated.parent / "pictures" / "curves.png"
    Image.new("RGB", (4, 4)).save(picture)
    assert readme.stale(illustrated) == ["pictures/curves.png is of other runs: it does not say of which"]
    picture.unlink()
    assert readme.stale(illustrated) == ["pictures/curves.png does not exist"]


def test_a_table_of_newer_runs_than_the_picture_beside_it_is_found(illustrated: Path) -> None:
    before, block, after = illustrated.read_text().partition("<!-- bench:spread one -->")
    illustrated.write_text(before + block + after.replace("commit abcdef0123", "commit 0123abcdef"))
    (sentence,) = readme.stale(illustrated)
    assert sentence.startswith("one is of several sets of runs: ")


def test_a_picture_beside_the_others_that_no_command_draws_is_found(illustrated: Path) -> None:
    illustrated.write_text(illustrated.read_text() + "![By hand](pictures/hand.png) ![Other](elsewhere/hand.png)\n")
    assert readme.stale(illustrated) == ["pictures/hand.png stands in no block"]


def test_without_a_browser_the_picture_stays_and_a_sentence_says_why(
    illustrated: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(readme_pictures, "BROWSERS", ("no-such-browser",))
    before = (illustrated.parent / "pictures" / "page.png").read_bytes()
    sentences = readme.refresh(illustrated, store)
    assert any("pictures/page.png stays as it was: a picture of the page needs a browser" in s for s in sentences)
    assert (illustrated.parent / "pictures" / "page.png").read_bytes() == before


def test_a_browser_that_does_not_come_to_an_end_is_a_sentence(
    illustrated: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(readme_pictures, "BROWSERS", (str(slow),))
    monkeypatch.setattr(readme_pictures, "PATIENCE", 0.2)
    assert any(
        "slow took more than 0.2 s to show the page" in sentence for sentence in readme.refresh(illustrated, store)
    )


@pytest.mark.parametrize(("name", "found"), [("densities-*", "is 0 of"), ("learning-curves-*", "is 2 of")])
def test_a_picture_must_be_one_figure(store: Store, tmp_path: Path, name: str, found: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(PICTURES.replace("learning-curves-steps", name))
    with pytest.raises(UsageError, match=f"one figure of suite one; '{re.escape(name)}' {found}"):
        readme.refresh(page, store)


@pytest.mark.skipif(not any(map(shutil.which, readme_pictures.BROWSERS)), reason="needs a Chromium")
def test_the_page_is_photographed_from_its_top_in_light(store: Store, tmp_path: Path) -> None:
    reason = readme_pictures.made(store, table.read(store), "page", tmp_path / "top.png", MADE_FROM)
    assert not reason
    with Image.open(tmp_path / "top.png") as image:
        assert image.size == readme_pictures.SIZE
        assert image.convert("RGB").getpixel((2, 999)) == (255, 255, 255)
        assert len(image.convert("RGB").getcolors(2**20) or ()) > 50
