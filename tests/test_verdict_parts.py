"""The parts of a verdict in one table: made from the verdicts of the page, and stale as soon as one of them changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import readme, spec, verdict_parts
from bench.errors import UsageError

PLANE = """
| objective    | moons            | rings                 | spirals              |
|:-------------|:-----------------|:----------------------|:---------------------|
| ref[steps=1] | ×3 (2 to 4): worse | failed              | ×2 (1 to 3): not separable |
| mine[k=2]    | ×.5 (.4 to .6): better | ×.5 (.4 to .6): better | not run     |

Each cell: `kl` of the objective over that of `ref`.
"""
IMAGES = """
| objective       | photos[n=1]                     |
|:----------------|:--------------------------------|
| mine            | failed                          |
| mine[sigma=0.1] | +1.30 (+0.90 to +1.70): better  |
| other           | -0.10 (-0.40 to +0.20): not separable |
"""
PARTS = [
    {"name": "plane", "datasets": ["moons", "rings", "spirals"], "objectives": ["ref", "ref[steps=1]", "mine[k=2]"]},
    {"name": "images", "datasets": ["photos[n=1]"], "objectives": ["ref", "mine", "mine[sigma=0.1]", "other"]},
]
PAGE = f"""Words.

<!-- bench:parts both -->
old
<!-- bench:end -->

<!-- bench:verdict plane -->
{PLANE}
<!-- bench:end -->

<!-- bench:verdict images -->
{IMAGES}
<!-- bench:end -->
"""


@pytest.fixture(autouse=True)
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    def parts(suite: str) -> list[dict[str, Any]]:
        assert suite == "both"
        return PARTS

    monkeypatch.setattr(spec, "read_suite", parts)


def cells(text: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return {row[0]: row[1:] for row in rows}


def test_one_data_set_keeps_its_cell_and_several_are_counted() -> None:
    assert cells(verdict_parts.markdown("both", {"plane": PLANE, "images": IMAGES})) == {
        "objective": ["plane: 3 data sets", "images: photos"],
        "ref": ["with [steps=1] 1 not separable, 1 worse, 1 failed", "–"],
        "mine": ["2 better, 1 not run", "failed; with [sigma=0.1] +1.30 (+0.90 to +1.70): better"],
        "other": ["–", "-0.10 (-0.40 to +0.20): not separable"],
    }


def test_a_page_without_the_verdict_of_a_part_is_refused() -> None:
    with pytest.raises(UsageError, match="none of images"):
        verdict_parts.markdown("both", {"plane": PLANE})


def test_the_table_of_a_page_is_stale_until_it_is_made_from_its_verdicts(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert readme.stale(page) == ["a table of parts is not of the verdicts that the page has"]
    page.write_text(readme.with_parts(PAGE))
    assert readme.stale(page) == []
    assert "2 better, 1 not run" in page.read_text()
    page.write_text(page.read_text().replace("×3 (2 to 4): worse", "×3 (2 to 4): better"))
    assert readme.stale(page) == ["a table of parts is not of the verdicts that the page has"]
