"""The names under which entries are shown: short, with what was changed, and no two alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.common.run_spec import ObjectiveSpec
from bench.results.denoising_table import LEVELS, RULER, denoising_lines, denoising_markdown
from bench.results.entry_names import entry_names
from bench.results.records import records_of
from bench.results.store import Planned
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import parse_suite
from tests.helpers.toy_workers import toy_spec


def shown(*objectives: str) -> list[str]:
    """The names of objectives of the project, as a suite asks for them."""
    suite = parse_suite({"name": "mine", "objectives": objectives, "datasets": ["two_moons"], "seeds": "0"}, "mine")
    return list(entry_names(plan_runs([suite], Selection(), "cpu")).values())


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("contrastive_divergence", "CD-10"),
        ("contrastive_divergence[steps=2]", "CD-2"),
        ("contrastive_divergence[step_size=0.5]", "CD-10 [step_size=0.5]"),
        ("contrastive_divergence[step_size=0.5,steps=2]", "CD-2 [step_size=0.5]"),
    ],
)
def test_a_label_names_what_it_mentions_and_brackets_what_else_was_changed(asked: str, name: str) -> None:
    assert shown(asked) == [name]


def test_an_objective_without_a_label_keeps_its_name() -> None:
    assert list(entry_names([toy_spec(0, "descent")]).values()) == ["descent"]


def test_an_entry_that_gives_a_default_is_told_from_the_one_that_does_not() -> None:
    names = shown("contrastive_divergence", "contrastive_divergence[steps=10]")
    assert names == ["CD-10", "CD-10 [steps=10]"]
    names = shown("contrastive_divergence[step_size=0.5]", "contrastive_divergence[step_size=0.5,steps=10]")
    assert len(set(names)) == 2


def test_files_of_one_name_are_told_apart_by_their_code() -> None:
    mine = ObjectiveSpec(name="mine", label="mine", short_label="mine", ref="/a/mine.py", sha="0123456789")
    other = replace(mine, ref="/b/mine.py", sha="abcdef0123")
    names = entry_names([toy_spec(0, mine), toy_spec(0, other), toy_spec(0, "descent")])
    assert list(names.values()) == ["mine (mine.py, 012345)", "mine (mine.py, abcdef)", "descent"]


def test_denoised_images_are_compared_with_the_project_s_own_ruler(tmp_path: Path) -> None:
    """Its name in tables has spaces where its file's name has not."""
    raw = {"name": "mine", "objectives": ["denoising_score_matching"], "denoisers": [RULER], "datasets": ["digits"]}
    suite = parse_suite({**raw, "seeds": "0", "metrics": ["denoising_psnr"]}, "mine")
    rows = []
    for spec in plan_runs([suite], Selection(), "cpu"):
        method, first = ("classical", 20.0) if spec.classical else ("mean", 21.0)
        value = {
            "value": first,
            "certified": True,
            "better": "higher",
            "unit": "dB",
            "detail": {"images": [first, 25.0]},
        }
        metrics = {f"denoising_psnr.{method}_{level}": {"ema": value} for level in LEVELS}
        rows.append((Planned.of(spec), {"status": "ok", "metrics": metrics}))
    records = records_of(rows)
    assert {line.objective for line in denoising_lines(records)} == {"DSM", "non local means"}
    (line,) = (line for line in denoising_markdown(records).splitlines() if line.startswith("| DSM"))
    assert "23.00 (+0.50" in line


def test_files_of_one_name_and_the_same_code_stay_two_entries() -> None:
    mine = ObjectiveSpec(name="mine", label="mine", short_label="mine", ref="/a/mine.py", sha="0123456789")
    specs = [toy_spec(0, mine), toy_spec(0, replace(mine, ref="/b/mine.py"))]
    assert sorted(entry_names(specs).values()) == ["mine (mine.py, 012345)", "mine (mine.py, 012345) #2"]
