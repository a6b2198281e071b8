"""What a plug-in, a path or an error can say is text in every output: no HTML, no Markdown, no TeX, no formula."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.common.run_spec import ObjectiveSpec
from bench.report.html.page import write_page
from bench.report.markdown.leaderboard_page import leaderboard_markdown
from bench.report.store_pages import write_store_pages
from bench.results import tables
from bench.results.records import read_records
from bench.results.store import Planned, Store
from tests.helpers.html_helpers import Page
from tests.helpers.store_builder import estimate
from tests.helpers.toy_workers import toy_spec

NAMES = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "a|b|c",
    "[click](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "a\n\n# heading",
    "\\input{/etc/passwd}",
    "$x$ & 50% _ # {}",
    "=HYPERLINK(1)",
    "@SUM(A1)",
    "\u202egnp.exe",
    "a\tb\rc",
    "`code` **bold**",
]


def filled(root: Path, name: str) -> Store:
    store, runs = Store(root), []
    for objective in (name, "plain"):
        about = ObjectiveSpec(name=objective, label=objective, family=name, source=name, note=name)
        for seed in range(3):
            run = Planned.of(toy_spec(seed, about, "line"))
            runs.append(run)
            metrics = {"kl": {"best": estimate(1.0 + seed), "last": estimate(1.0 + seed)}}
            ok = {
                "status": "ok",
                "metrics": metrics,
                "work": {"steps": 9, "flops_train": 1e9},
                "time": {"train_wall": 1},
            }
            attempt = store.begin(run)
            (attempt.folder / "log.txt").write_text(name, encoding="utf-8")
            attempt.finish(ok if seed < 2 else {"status": "error", "reason": name})
    store.write_plan(runs)
    return store


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_no_element_that_a_name_made(name: str, tmp_path: Path) -> None:
    def shape(of: str) -> list[tuple[str, list[str]]]:
        store = filled(tmp_path / str(len(of)) / "s", of)
        write_page(store.root, tmp_path / "page.html")
        page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
        return [(tag, sorted(a)) for tag, a in page.elements if tag in ("script", "img", "a", "iframe", "style")]

    usual = {(tag, *keys) for tag, keys in shape("usual")}
    assert {(tag, *keys) for tag, keys in shape(name)} <= usual


@pytest.mark.parametrize("name", NAMES)
def test_markdown_tex_and_csv_hold_it_in_one_cell(name: str, tmp_path: Path) -> None:
    store = filled(tmp_path / "s", name)
    frame = tables.summary_frame(read_records(store))
    printed = tables.table_text(frame, ".md")
    pipes = {len(re.findall(r"(?<!\\)\|", line)) for line in printed.splitlines()}
    assert len(pipes) == 1
    tex = tables.table_text(frame, ".tex")
    assert "\\input{" not in tex
    assert all(line.count("&") - line.count("\\&") == frame.shape[1] - 1 for line in tex.splitlines() if "\\\\" in line)
    for line in tables.table_text(frame, ".csv").splitlines():
        assert not re.match(r'"?[=@]', line)
    page = leaderboard_markdown(read_records(store))
    assert "<script" not in page
    assert "<img" not in page
    assert "\n# heading" not in page
    assert "](javascript:" not in page
    assert not re.search(r"!\[[^]]*\]\(http", page)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_figures_are_drawn_with_it(name: str, tmp_path: Path) -> None:
    write_store_pages(filled(tmp_path / "s", name).root)
