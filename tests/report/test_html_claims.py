"""Claims of others stand beside what was measured again, as claims: where they were read, and what differs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.common.errors import UsageError
from bench.report.html import sections
from tests.helpers.html_helpers import Page, page_of
from tests.helpers.store_builder import NOISE, Shelf, estimate


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "store")


def test_claims_stand_apart_from_what_was_measured_with_where_they_were_read(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = tmp_path / "published.csv"
    monkeypatch.setattr(sections.page_sections, "__defaults__", (published,))
    header = "method,dataset,metric,value,source,provenance,note\n"
    published.write_text(
        f"{header}good,line,kl,0.1,Author 2020,second hand,\nabsent,line,kl,,Author 2021,,\n", encoding="utf-8"
    )
    shelf.entry("good", 1.0)
    page = Page(page_of(shelf))
    assert ["good", "line", "kl", "0.1", "no", "Author 2020", "second hand", ""] in page.rows
    assert ["absent", "line", "kl", "not to be had", "no", "Author 2021", "", ""] in page.rows
    assert page.row("good")[1:4] == ["1.0", "11.000 ± 0.020", "5 of 5"]  # the objective of that name: only measured
    published.write_text("method,value\ngood,0.1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="it lacks dataset, metric"):
        page_of(shelf)


def test_claims_of_other_data_sets_and_metrics_than_the_store_s_stay_away(shelf: Shelf, tmp_path: Path) -> None:
    published = tmp_path / "published.csv"
    header = "method,dataset,metric,value,source,provenance,note\n"
    published.write_text(f"{header}a,CIFAR-10,kl,3.3,A,b,\nb,Line,FID,4,A,b,\n", encoding="utf-8")
    shelf.entry("good", 1.0)
    assert sections.page_sections(shelf.store.root, shelf.records(), published) == []
    published.write_text(f"{header}a,CIFAR-10,kl,3.3,A,b,\nb,Line,KL,4,A,b,\n", encoding="utf-8")
    (section,) = sections.page_sections(shelf.store.root, shelf.records(), published)
    assert section.table["method"].tolist() == ["b"]


@pytest.mark.parametrize(
    ("extractor", "said"),
    [
        ("digits-0123", "n = 50, digits-0123: not comparable, other features"),
        ("inception-v3-6726", "inception-v3-6726"),
    ],
)
def test_a_claim_stands_beside_what_was_measured_again(shelf: Shelf, tmp_path: Path, extractor: str, said: str) -> None:
    published = tmp_path / "published.csv"
    header = "method,objective,dataset,metric,value,source,provenance,note\n"
    published.write_text(
        f"{header}Good,good,The-Line,FID,3.3,A,b,\nGood,,The-Line,FID,4,A,b,\nGood,good,Arc,FID,5,A,b,\n",
        encoding="utf-8",
    )
    for seed, noise in enumerate(NOISE):
        value = estimate(40.0 + noise, n=50, unit="", detail={"extractor": extractor})
        shelf.ran("good", seed, None, dataset="the_line", metrics={"fid": {"ema": value}})
    found = sections.claims(published, shelf.records())
    assert found["claimed"].tolist() == [3.3, 4.0, 5.0]
    assert found["re-measured"].tolist()[1:] == ["no", "no"]
    assert found["re-measured"][0].startswith("40.000 ± 0.020 (#1), suite toy, n = 50")
    assert found["re-measured"][0].endswith(said)


def test_the_claims_of_the_project_name_objectives_that_exist() -> None:
    named = set(pd.read_csv(sections.PUBLISHED)["objective"].dropna())
    assert named
    assert named <= {path.stem for path in (sections.PUBLISHED.parent.parent / "objectives").glob("*.py")}


def test_the_claims_of_the_project_say_what_they_are_and_where_they_were_read() -> None:
    claims = sections.claims(sections.PUBLISHED)
    assert len(claims) > 20
    for column in ("method", "dataset", "metric", "source", "provenance"):
        assert claims[column].str.strip().all(), column
    ours = claims[claims["method"].str.startswith("Diffusion contrastive divergence")]
    assert ours["claimed"].tolist() == ["not to be had"]
