"""What `check` found of one's own files is remembered, and rows say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.main import main
from bench.contract import check, ledger
from bench.results.committed_rows import read_rows, write_rows
from bench.results.records import read_records
from bench.results.store import Store

GOOD = '''
from typing import Annotated
from torch import Tensor
from bench.api import Energy, Log, Rng, objective, score, sum_event

@objective(family="test", minimiser="smoothed", source="this test")
def mine(energy: Energy, x: Tensor, rng: Rng, *, sigma: Annotated[float, Log(1e-2, 1.0)] = 0.1) -> Tensor:
    """½‖σ s(x + σz) + z‖²."""
    z = rng.normal_like(x)
    return 0.5 * sum_event((sigma * score(energy, x + sigma * z, create_graph=True) + z).square(), rng)
'''
BAD = GOOD.replace("z = rng.normal_like(x)", "import torch; z = torch.randn(x.shape)")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "mine.py"
    path.write_text(GOOD, encoding="utf-8")
    return path


def test_a_file_is_unchecked_until_it_was_and_again_after_an_edit(file: Path) -> None:
    assert ledger.standing(file) == "unchecked"
    check.check_plugin(str(file), only=["declaration"])
    assert ledger.standing(file) == "unchecked", "some rules are not all"
    check.check_plugin(str(file))
    assert ledger.standing(file) == ""
    file.write_text(BAD, encoding="utf-8")
    assert ledger.standing(file) == "unchecked"
    check.check_plugin(str(file), only=["private randomness"])
    assert ledger.standing(file) == "fails: private randomness"
    file.write_text("# the same code\n" + GOOD, encoding="utf-8")
    assert ledger.standing(file) == ""


def test_rows_of_a_file_that_was_not_checked_say_so(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = file.parent / "store"
    asked = ["run", "--suite", "smoke", "--objective", f"{file},contrastive_divergence", "--jobs", "1"]
    assert main([*asked, "--out", str(store)]) == 0
    assert capsys.readouterr().err.count("mine.py: unchecked; `check FILE.py` says what it breaks") == 1
    page = (store / "leaderboard.md").read_text(encoding="utf-8")
    assert "Not shown to keep the contract (`check`): mine.py: unchecked." in page
    records = read_records(Store(store))
    assert sorted(record.spec.contract for record in records) == [(), ("mine.py: unchecked",)]
    write_rows(records, file.parent / "rows.csv")
    assert sorted(r.spec.contract for r in read_rows(file.parent / "rows.csv")) == [(), ("mine.py: unchecked",)]


def test_a_cache_that_is_no_cache_is_forgotten(file: Path) -> None:
    place = file.parent / "cache" / "ebm-bench" / "checks.json"
    place.parent.mkdir(parents=True)
    place.write_text("no JSON", encoding="utf-8")
    assert ledger.standing(file) == "unchecked"
    ledger.remember(file, [])
    assert ledger.standing(file) == ""


def test_the_search_for_the_minimiser_is_foretold_where_there_is_one(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = check.estimated_seconds(str(file))
    assert told is not None
    assert told > 0
    assert check.estimated_seconds("two_moons") is None
    monkeypatch.setattr(check, "estimated_seconds", lambda *_, **__: 300.0)
    assert main(["check", str(file), "--only", "declaration"]) == 0
    assert "minimiser" not in capsys.readouterr().err
    assert main(["check", str(file), "--only", "minimiser", "--draws", "1024"]) in (0, 3)
    assert "the search for the minimiser takes about 5 min at most" in capsys.readouterr().err
