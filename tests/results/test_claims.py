"""A claim of others, that an entry is better than the reference, is shown, not shown, or the opposite is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.common.errors import UsageError
from bench.common.statistics import Interval
from bench.report.markdown.blocks import marked, refresh_page
from bench.results.claims import claims_markdown
from bench.results.paired_cells import format_effect
from bench.results.records import Record, records_of
from tests.results.test_contrasts import ASKED, SETS, filled, noise, run

EFFECTS = {"one": -0.7 + noise(1), "two": noise(2, 0.05), "three": 0.9 + noise(3)}


def filled_on_one(logs: dict[str, np.ndarray]) -> list[Record]:
    spread = {name: np.repeat(values, len(SETS), axis=1) for name, values in logs.items()}
    return [record for record in filled(spread) if record.dataset == SETS[0]]


def of_suite(records: list[Record], suite: str) -> list[Record]:
    return records_of(
        (replace(record.run, spec=replace(record.spec, suite=suite)), dict(record.row or {})) for record in records
    )


def cells(text: str, question: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {question} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_claim_has_one_of_three_answers_with_its_interval() -> None:
    text = claims_markdown({"plane": filled(EFFECTS)})
    assert cells(text, "one over anchor")[1].startswith("**shown**, ×0.5 (0.")
    assert cells(text, "two over anchor")[1].startswith("not shown, ×0.998 (0.")
    assert cells(text, "three over anchor")[1].startswith("**opposite shown**, ×2.4 (2.")
    assert "| claim | plane, 5 seeds |" in text


def test_more_decibels_are_better() -> None:
    about = {"metric": "psnr", "about": {"better": "higher", "unit": "dB"}, "contrasts": ASKED[:2]}
    levels = {"anchor": 0.0, "one": 1.0, "two": -1.0}
    found = records_of(
        run(name, seed, 28.0 + 0.1 * seed + more + 0.02 * more * (-1) ** seed, **about)
        for name, more in levels.items()
        for seed in range(5)
    )
    text = claims_markdown({"photos": found})
    assert cells(text, "one over anchor")[1].startswith("**shown**, +1.00 (+0.9")
    assert cells(text, "two over anchor")[1].startswith("**opposite shown**, -1.00 (-1.0")


def test_what_qualifies_an_answer_stands_beside_it() -> None:
    split = np.array([-1.5, -1.2, -0.9, 0.8]) + noise(1)
    text = claims_markdown({"plane": filled({**EFFECTS, "one": split})})
    assert cells(text, "one over anchor")[1].endswith(", but worse on grid")
    gone = [run("anchor", 0, None, "ring"), run("two", 1, None, "moons")]
    lost = {planned.key for planned, _ in gone}
    kept = [(r.run, dict(r.row or {})) for r in filled(EFFECTS) if r.run.key not in lost]
    text = claims_markdown({"plane": records_of([*kept, *gone])})
    assert cells(text, "one over anchor")[1].endswith(", without ring, where the reference failed")
    assert cells(text, "two over anchor")[1] == "not shown: failed on moons"


def test_runs_that_are_to_come_are_no_claim_that_is_not_shown_and_one_data_set_needs_no_name() -> None:
    logs = {name: values[:, :1] for name, values in EFFECTS.items() if name != "three"}
    lost = run("two", 0, None, "line")
    kept = [(r.run, dict(r.row or {})) for r in filled_on_one(logs) if r.run.key != lost[0].key]
    text = claims_markdown({"photos": records_of([*kept, lost])})
    assert cells(text, "two over anchor")[1] == "not shown: failed"
    assert cells(text, "three over anchor")[1] == "not run yet"


def test_an_undecided_question_is_no_claim_shown_whatever_its_mean() -> None:
    text = claims_markdown({"plane": filled({name: values[:1] for name, values in EFFECTS.items()})})
    assert cells(text, "one over anchor")[1].startswith("not shown, ×0.5 (one seed)")
    assert "shown**" not in text.partition("\n\n")[0]


def test_suites_stand_side_by_side_and_a_question_that_one_does_not_ask_is_left_open() -> None:
    asked = ASKED[:2]
    other = of_suite(filled(EFFECTS), "clothes")
    other = records_of(
        (replace(r.run, spec=replace(r.spec, contrasts=asked)), dict(r.row or {})) for r in other if r.dataset in SETS
    )
    text = claims_markdown({"plane": filled(EFFECTS), "clothes": other, "photos": []})
    assert cells(text, "three over anchor")[2] == "not asked"
    assert cells(text, "one over anchor")[2].startswith("**shown**")
    assert "No answer yet: `photos`." in text


def test_only_questions_that_are_wanted_are_shown() -> None:
    text = claims_markdown({"plane": filled(EFFECTS)}, "t*")
    assert "one over anchor" not in text
    assert "three over anchor" in text
    assert claims_markdown({"plane": []}) == "No answer yet: `plane`."


def test_a_page_has_claims_of_several_suites(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:claims toy,clothes o* -->\n<!-- bench:end -->\n", encoding="utf-8")
    assert marked(page) == [("claims", "toy,clothes o*")]
    assert refresh_page(page, filled(EFFECTS)) == []
    text = page.read_text(encoding="utf-8")
    assert cells(text, "one over anchor")[1].startswith("**shown**")
    assert "two over anchor" not in text
    assert "No answer yet: `clothes`." in text
    (sentence,) = refresh_page(page, of_suite(filled(EFFECTS), "elsewhere"))
    assert "no run of suite toy,clothes" in sentence
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("words", ["claims", "ranking a,b", "ranking a b", "claims a,,b"])
def test_a_mark_that_is_not_as_it_must_be_is_refused(words: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"<!-- bench:{words} -->\n<!-- bench:end -->\n", encoding="utf-8")
    with pytest.raises(UsageError, match="a mark is"):
        marked(page)


@pytest.mark.parametrize(("high", "shown"), [(0.996, "0.996"), (1.003, "1.003"), (1.04, "1.040"), (1.2, "1.2")])
def test_a_bound_shows_on_which_side_of_no_difference_it_lies(high: float, shown: str) -> None:
    assert format_effect(Interval(0.9, 0.8, high, 16), "ratio") == f"×0.9 (0.8 to {shown})"


def test_tuned_entries_answer_in_a_column_of_their_own() -> None:
    default = filled(EFFECTS)
    tuned = records_of(
        (replace(record.run, spec=replace(record.spec, tuned=True)), dict(record.row or {}))
        for record in filled({**EFFECTS, "three": EFFECTS["one"]})
    )
    text = claims_markdown({"plane": [*default, *tuned]})
    assert "| claim | plane, 5 seeds | plane, tuned, 5 seeds |" in text
    assert cells(text, "three over anchor")[1].startswith("**opposite shown**")
    assert cells(text, "three over anchor")[2].startswith("**shown**")
