"""The README and the pages of results: of the committed rows, short, and with links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bench.common.paths import ROOT
from bench.report import publish
from bench.report.markdown import blocks, pages

README = ROOT / "README.md"
RESULTS = ROOT / "results"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(RESULTS.glob("*.md"))]
MOST_LINES, MOST_BYTES = 150, 12_000
PICTURE_BYTES, ALL_BYTES = 300_000, 15_000_000


def test_no_page_of_results_is_stale() -> None:
    assert [path.name for path in pages.stale_pages(RESULTS, [README])] == [], (
        "run: python -m bench publish --pages-only"
    )


def test_the_picture_of_proxies_is_of_the_committed_rows() -> None:
    assert publish.proxies_up_to_date(RESULTS), "run: python -m bench publish --pages-only"


def test_every_page_of_results_is_of_committed_rows() -> None:
    rendered = {path.name for path in pages.page_texts(RESULTS)}
    assert {path.name for path in RESULTS.glob("*.md")} - rendered == {"gate-self-test.md"}


def test_the_readme_is_short_with_one_table_of_results_one_of_claims_and_one_picture() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert len(text.encode()) <= MOST_BYTES
    assert [kind for kind, _ in blocks.marked(README)] == ["headline", "claims"]
    assert len(re.findall(r"!\[", text)) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_picture_is_small_and_stands_on_a_page() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (RESULTS / "pictures").glob("*"):
        assert picture.stat().st_size <= PICTURE_BYTES, picture.name
        assert f"pictures/{picture.name}" in shown, picture.name


def test_the_repository_stays_small() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    assert sum(file.stat().st_size for file in files if file.exists()) < ALL_BYTES
