"""The page: whole in itself, made from rows alone, honest about what is missing or doubtful."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.cli import main
from bench.common import exit_codes
from bench.common.errors import UsageError
from bench.common.run_spec import ContrastSpec
from bench.common.statistics import t_interval
from bench.report import export
from bench.report.html import comparison, images
from bench.report.html.page import write_page
from bench.report.html.sections import page_sections
from bench.results.store import ARTEFACTS, Planned
from tests.helpers.html_helpers import Page, page_of
from tests.helpers.store_builder import NOISE, Shelf, estimate


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "store")


def charts_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" class="charts">(.*?)</script>', page, re.DOTALL)
    assert found
    result: dict[str, Any] = json.loads(found.group(1))
    return result


def test_the_page_asks_for_nothing_outside_itself(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    page = page_of(shelf)
    outside = [link for link in Page(page).links() if not link.startswith(("#", "data:"))]
    assert not outside
    assert not re.search(r"@import|url\(\s*['\"]?https?:|\bfetch\(|XMLHttpRequest", page)
    assert "default-src 'none'" in page


def test_every_inner_link_has_its_target(shelf: Shelf) -> None:
    for name in ("good", "worse[steps=20]", "bad (mine.py)"):
        shelf.entry(name, 1.0)
    parsed = Page(page_of(shelf))
    targets = {a["id"] for _, a in parsed.elements if "id" in a}
    inner = {link[1:] for link in parsed.links() if link.startswith("#")}
    assert inner <= targets
    assert len([a for _, a in parsed.elements if a.get("class") == "objective"]) == 3


def test_ids_are_unique(shelf: Shelf) -> None:
    for more in ({}, {"suite": "second"}, {"track": "equal_flops"}):
        shelf.entry("good", 1.0, **more)
    ids = [a["id"] for _, a in Page(page_of(shelf)).elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_a_cell_shows_the_mean_the_interval_and_the_rank(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    shelf.entry("worse", 3.0)
    page = Page(page_of(shelf))
    assert page.row("good")[1:4] == ["1.0", "11.000 ± 0.020", "5 of 5"]
    assert page.row("worse")[1:4] == ["2.0", "23.000 ± 0.020", "5 of 5"]


def test_an_entry_more_moves_nobodys_score_on_the_page(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    shelf.entry("worse", 2.0)

    def scores() -> dict[str, Any]:
        charts = charts_of(page_of(shelf))
        names = {entry["number"]: entry["name"] for entry in charts["objectives"]}
        return {names[p["number"]]: p["values"] for points in charts["points"].values() for p in points}

    before = scores()
    shelf.entry("great", -5.0)
    shelf.entry("failing", 9.0, seeds=2)
    after = scores()
    assert {name: after[name] for name in before} == before
    assert set(after) == {"good", "worse", "great", "failing"}


def test_failures_are_words_with_reasons(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    attempt = shelf.ran("wild", 0, None, status="diverged", reason="the loss is not finite at step 7", last_step=7)
    (attempt.folder / "log.txt").write_text("a last word", encoding="utf-8")
    for seed in (0, 1):
        shelf.ran("heavy", seed, None, status="skipped", reason="needs images")
    shelf.plan("later", 0)
    text = page_of(shelf)
    page = Page(text)
    assert page.row("wild")[2] == "diverged at 7"
    assert page.row("heavy")[2] == "skipped"
    assert page.row("later")[2] == "not run"
    for words in ("the loss is not finite at step 7", "seeds 0, 1: needs images", "planned, not run", "a last word"):
        assert words in text
    assert not re.search(r">\s*(nan|None|NaN)\b", text)


def test_what_is_not_certified_is_marked_with_its_reason(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    doubtful = estimate(0.5, certified=False, reason="mass at the edge")
    shelf.ran("doubtful", 0, None, metrics={"kl": {"last": doubtful}})
    text = page_of(shelf)
    assert Page(text).row("doubtful")[2].endswith("?")
    marked = [a for tag, a in Page(text).elements if tag == "td" and "uncertified" in a.get("class", "").split()]
    assert marked
    assert all(a["title"] == "mass at the edge" for a in marked)


def test_timings_of_a_busy_machine_are_grey(shelf: Shelf) -> None:
    run = shelf.plan("good", 0)
    for noisy, count in ((False, 0), (True, 3)):
        row = {"status": "ok", "metrics": {"kl": {"last": estimate(1.0)}}, "time": {"train_wall": 1.5, "noisy": noisy}}
        shelf.store.begin(Planned.of(run)).finish(row)
        grey = [a for tag, a in Page(page_of(shelf)).elements if tag == "td" and "noisy" in a.get("class", "")]
        assert len(grey) == count  # in the ranking, among its own runs, and among all runs


def test_a_table_that_mixes_machines_says_so(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.ran("good", 0, 1.0)
    assert 'class="warning"' not in page_of(shelf)
    elsewhere = {"env_id": shelf.store.keep_environment({"python": "3.12.0"})}
    monkeypatch.setattr(shelf, "environment", lambda: elsewhere)
    shelf.ran("good", 1, 1.0)
    assert page_of(shelf).count('class="warning"') == 2  # the ranking, and the table of all runs


def test_the_table_of_all_runs_says_if_it_mixes_devices(shelf: Shelf) -> None:
    for device in ("cpu", "cuda"):
        shelf.entry("good", 1.0, device=device)
    page = page_of(shelf)
    assert page.count('class="warning"') == 1  # a ranking is of one device
    assert "made on 2 devices (cpu, cuda): their costs compare only within one of each" in page


def test_a_column_says_how_many_samples_and_which_features_it_stands_on(shelf: Shelf) -> None:
    value = estimate(12.0, n=5000, detail={"extractor": "features-2048"})
    shelf.ran("good", 0, None, metrics={"fid": {"last": value}})
    assert "n = 5000, features-2048" in page_of(shelf)


def test_names_cannot_break_out_of_the_page(shelf: Shelf) -> None:
    evil = "a</script><img src=x onerror=alert(1)>"
    shelf.ran(evil, 0, None, status="error", reason=evil)
    shelf.entry("good" + evil, 1.0)
    page = Page(page_of(shelf))
    assert not [a for tag, a in page.elements if "onerror" in a or (tag == "img" and a.get("src") == "x")]


def test_the_tables_can_be_taken_away(shelf: Shelf) -> None:
    shelf.entry("an_objective", 1.0)
    links = {a["download"]: a["href"] for _, a in Page(page_of(shelf)).elements if "download" in a}
    names = ("toy", "results")
    assert set(links) == {f"{name}.{suffix}" for name in names for suffix in ("csv", "md", "tex")}
    files = {name: base64.b64decode(uri.partition("base64,")[2]).decode() for name, uri in links.items()}
    assert pd.read_csv(io.StringIO(files["toy.csv"]))["mean"].tolist() == [pytest.approx(1.0)]
    assert len(pd.read_csv(io.StringIO(files["results.csv"]))) == 5
    assert "1.000 ± 0.020 (#1)" in files["toy.md"]
    assert files["toy.tex"].index(r"\toprule") < files["toy.tex"].index(r"an\_objective")


def test_the_charts_show_the_seeds_the_interval_and_the_curve(shelf: Shelf) -> None:
    for seed, noise in enumerate(NOISE):
        attempt = shelf.ran("good", seed, 1.0 + noise)
        for step in (10, 20):
            attempt.append({"step": step, "flops": 1e9 * step, "train_seconds": 0.1, "kl_ema": 1 / step + noise})
    charts = charts_of(page_of(shelf))
    ((point,),) = charts["points"].values()
    interval = t_interval([1.0 + noise for noise in NOISE])
    assert point["values"]["kl"] == {
        "seeds": [1.0 + noise for noise in NOISE],
        "n": len(NOISE),
        "at": pytest.approx(interval.mean),
        "low": pytest.approx(interval.low),
        "high": pytest.approx(interval.high),
        "uncertified": 0,
    }
    assert point["values"]["flops_train"]["at"] == 2.0  # GFLOPs
    ((curve,),) = charts["curves"].values()
    assert curve["x"] == {"step": [10, 20], "flops": [10, 20], "train_seconds": [0.1, 0.1]}
    assert curve["middle"] == pytest.approx([0.1, 0.05])
    assert curve["high"] == pytest.approx([0.12, 0.07])


def test_a_density_stands_upright_on_the_scale_of_the_truth(shelf: Shelf) -> None:
    log_density = np.full((4, 4), -50.0)
    log_density[3, 0] = 0.0  # large x, small y: the lower right
    log_density[0, 3] = np.log(0.5)
    arrays = {"log_density": log_density, "log_truth": np.zeros((4, 4)), "score_error": np.full((4, 4), 1e9)}
    np.savez(shelf.ran("good", 0, 1.0).folder / ARTEFACTS, **arrays)  # type: ignore[arg-type]
    assert "density of good on line" in page_of(shelf)
    uri = images.pictures(arrays)["density"]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    expected = np.zeros((4, 4))
    expected[3, 3], expected[0, 0] = 255, 127
    assert np.array_equal(picture, expected)


def test_maps_have_a_colour_bar_with_plain_marks(shelf: Shelf) -> None:
    grid = np.ones((4, 4))
    arrays = {"log_density": grid, "log_truth": grid, "score_error": grid}
    np.savez(shelf.ran("good", 0, 1.0).folder / ARTEFACTS, **arrays)  # type: ignore[arg-type]
    page = page_of(shelf)
    assert "colour scale of the score error, from 0.1 to 100" in page
    assert "<li>0.1</li><li>1</li><li>10</li><li>100</li>" in page
    assert "colour scale of the density, from 0 to 1" in page


def test_images_keep_the_blacks_and_whites_of_the_data() -> None:
    data = np.stack([np.zeros((1, 3, 3)), np.ones((1, 3, 3))])
    uri = images.pictures({"data": data, "samples": np.full((1, 1, 3, 3), 0.5)})["samples"]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    assert np.median(picture) == 127


def test_what_other_commands_left_beside_the_store_is_shown(shelf: Shelf, tmp_path: Path) -> None:
    shelf.entry("good", 1.0)
    assert 'id="cost"' not in page_of(shelf)
    (shelf.store.root / "cost.csv").write_text("objective,fwd_bwd_ratio\ngood,2.5\n", encoding="utf-8")
    (shelf.store.root / "audit.csv").write_text("objective,bias\ngood,0.125\n", encoding="utf-8")
    page = Page(page_of(shelf))
    assert {"cost", "audit"} <= {a.get("id") for _, a in page.elements}
    assert "2.5" in page.row("good")
    published = tmp_path / "published.csv"
    published.write_text("method,dataset,metric,value,source,provenance,note\n", encoding="utf-8")
    sections = page_sections(shelf.store.root, shelf.records(), published)
    assert [section.id for section in sections] == ["audit", "cost"]


def test_what_all_were_given_stands_once_beside_what_each_made_of_it(shelf: Shelf) -> None:
    square = np.zeros((4, 1, 3, 3))
    for name in ("good", "other"):
        arrays = {"clean": square, "noisy_25": square, "denoised_mode_25": square + 1}
        np.savez(shelf.ran(name, 0, 1.0).folder / ARTEFACTS, **arrays)  # type: ignore[arg-type]
    shown = [a["alt"] for tag, a in Page(page_of(shelf)).elements if tag == "img" and "src" in a]
    assert shown == ["clean: line", "noisy 25: line", *(f"denoised mode 25 of {n} on line" for n in ("good", "other"))]


def test_every_section_says_which_command_and_commit_made_it(shelf: Shelf) -> None:
    for name in ("usual", "better"):
        shelf.entry(name, 1.0, reference="usual")
    (shelf.store.root / "scaling.csv").write_text("objective,step_ms\nbetter,2.5\n", encoding="utf-8")
    page = page_of(shelf)
    for section in ("verdict-toy", "toy"):
        (text,) = re.findall(rf'<section id="{section}".*?</section>', page, re.DOTALL)
        assert "<code>python -m bench run --suite toy</code>, protocol version 1, seeds 0-4: 10 of 10 runs" in text
        assert "commit unknown" in text
    assert "<code>python -m bench cost --scaling</code>" in page


def test_an_audit_in_its_own_folder_is_a_section_with_its_pictures(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    folder = shelf.store.root / "audit"
    folder.mkdir()
    (folder / "audit.csv").write_text("objective,bias\ngood,0.125\n", encoding="utf-8")
    Image.new("L", (2, 2)).save(folder / "audit-family.png")
    page = Page(page_of(shelf))
    assert "audit" in {a.get("id") for _, a in page.elements}
    assert ["good", "0.125"] in page.rows
    assert "audit family" in {a.get("alt") for _, a in page.elements}


def test_the_same_store_gives_the_same_bytes(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    assert page_of(shelf) == page_of(shelf)


def test_the_command_writes_the_page(shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.ran("good", 0, 1.0)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    assert main.main(["report", str(shelf.store.root), "--out", str(tmp_path / "page.html")]) == exit_codes.GOOD
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_store_without_a_plan_and_a_place_that_is_none_are_refused(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No runs in"):
        write_page(tmp_path / "nothing", tmp_path / "page.html")
    shelf.ran("good", 0, 1.0)
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    with pytest.raises(UsageError, match="give another --out"):
        write_page(shelf.store.root, tmp_path / "nowhere" / "page.html")


def test_the_verdict_comes_first_with_what_is_better_on_the_left(shelf: Shelf) -> None:
    for name, mean in (("usual", 2.0), ("better", 1.0), ("worse", 4.0)):
        shelf.entry(name, mean, reference="usual")
    page = page_of(shelf)
    assert page.index('id="verdict-toy"') < page.index('id="toy"')
    (figure,) = comparison.verdicts(shelf.records(), {})
    cells = {line["name"]: line["cells"]["line"] for line in figure["lines"]}
    assert list(cells) == ["better", "worse"]
    assert [cell["word"] for cell in cells.values()] == ["better", "worse"]
    for cell, half in ((cells["better"], range(50)), (cells["worse"], range(51, 100))):
        assert int(cell["left"]) in half
        assert cell["left"] < cell["at"] < cell["right"]
    assert cells["better"]["at"] + cells["worse"]["at"] == pytest.approx(100, abs=0.5)  # a half and a double


def test_a_gain_in_decibels_is_on_the_left_too(shelf: Shelf) -> None:
    for name, mean in (("usual", 20.0), ("finer", 23.0)):
        for seed, noise in enumerate(NOISE):
            value = {"psnr": {"last": estimate(mean + noise * mean / 20, better="higher", unit="dB")}}
            shelf.ran(name, seed, None, metrics=value, reference="usual")
    (figure,) = comparison.verdicts(shelf.records(), {})
    (line,) = figure["lines"]
    assert line["cells"]["line"]["word"] == "better"
    assert line["cells"]["line"]["right"] < 50


def test_without_a_reference_there_is_no_verdict(shelf: Shelf) -> None:
    shelf.entry("good", 1.0)
    assert "verdict-toy" not in page_of(shelf)


def test_a_paper_gets_every_table_and_figure_with_its_origin(shelf: Shelf, tmp_path: Path) -> None:
    for seed, noise in enumerate(NOISE):
        for name, mean in (("energy_discrepancy", 1.0), ("other", 2.0)):
            metrics = {"kl": {"best": estimate(mean + noise)}}
            shelf.ran(name, seed, None, metrics=metrics, reference="energy_discrepancy")
    shelf.store.write_plan(map(Planned.of, shelf.specs))
    written = export.export_tables(shelf.store.root, tmp_path / "paper")
    names = {path.name for path in written}
    for stem in ("results", "summary", "ranking-toy", "verdict-toy"):
        assert {f"{stem}{suffix}" for suffix in (".csv", ".md", ".tex")} <= names
    assert {"toy-cost.svg", "toy-cost.pdf", "toy-verdict.svg", "toy-verdict.pdf"} <= names
    assert (tmp_path / "paper" / "toy-cost.pdf").read_bytes().startswith(b"%PDF")
    assert "python -m bench run --suite toy" in (tmp_path / "paper" / "toy-cost.svg").read_text(encoding="utf-8")
    assert r"\toprule" in (tmp_path / "paper" / "verdict-toy.tex").read_text(encoding="utf-8")
    for table in (tmp_path / "paper").glob("*.tex"):
        assert table.read_text(encoding="utf-8").split(r"\\")[0].count("&") < export.MOST, table.name
    assert (tmp_path / "paper" / "summary.tex").read_text(encoding="utf-8").splitlines()[2].startswith("objective & ")
    whole = export.export_tables(shelf.store.root, tmp_path / "whole", all_columns=True)
    lines = {path.suffix: path.read_text(encoding="utf-8").splitlines() for path in whole if path.stem == "summary"}
    assert lines[".tex"][2].count("&") == lines[".csv"][0].count(",")
    before = {path: path.read_bytes() for path in written}
    assert {path: path.read_bytes() for path in export.export_tables(shelf.store.root, tmp_path / "paper")} == before


def test_a_run_shows_the_metric_that_its_data_set_is_ranked_by_or_none(shelf: Shelf) -> None:
    """A run without the chosen weights' value must not stand there with the averaged weights' better one."""
    shelf.ran("good", 0, None, metrics={"kl": {"best": estimate(1.5), "ema": estimate(0.5)}})
    shelf.ran("lacking", 0, None, metrics={"kl": {"ema": estimate(0.25)}})
    page = Page(page_of(shelf))
    lines = {row[0].strip(): [cell.strip() for cell in row] for row in page.rows if len(row) == 16}
    assert lines["good"][5:7] == ["1.5", "kl_best"]
    assert lines["lacking"][5:7] == ["n/a", "kl_best"]


def test_a_suite_s_questions_stand_above_its_cells(shelf: Shelf) -> None:
    asked = (ContrastSpec(name="quick over usual", entry="quick", reference="usual"),)
    for name, mean in (("usual", 1.0), ("quick", 0.5)):
        for seed, noise in enumerate(NOISE):
            shelf.ran(name, seed, mean * (1 + noise * mean), reference="usual", contrasts=asked)
    page = page_of(shelf)
    assert page.index("quick over usual") < page.index("simultaneous over the suite")
    assert "The questions of the suite" in page
