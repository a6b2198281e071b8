"""A store that an older version wrote, before packages and typed specifications, still opens; its numbers are the same.

`store_of_0_1` was written by `python -m bench run` at commit 560b29a, with the results.csv of that version beside it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from bench.cli.main import main
from bench.results.records import read_records
from bench.results.store import Store
from bench.results.tables import records_frame

WRITTEN = Path(__file__).with_name("store_of_0_1")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN, tmp_path / "old"))


def test_every_number_of_an_old_store_is_as_its_version_wrote_it() -> None:
    then = pd.read_csv(WRITTEN / "results.csv")
    now = records_frame(read_records(Store(WRITTEN))).reset_index(drop=True)
    assert set(then.columns) <= set(now.columns)
    for column in then.columns:
        if pd.api.types.is_numeric_dtype(then[column]):
            assert list(then[column]) == pytest.approx(list(now[column].astype(float)), rel=1e-15, nan_ok=True), column
        else:
            assert list(then[column].fillna("")) == list(now[column].fillna("")), column


def test_entries_of_an_old_store_have_todays_labels() -> None:
    assert {r.objective for r in read_records(Store(WRITTEN))} == {"CD-10", "DSM [sigma=0.2]"}


@pytest.mark.parametrize("command", ["table", "report", "verdict", "verify"])
def test_commands_open_an_old_store(command: str, old: Path, tmp_path: Path) -> None:
    more = ["--out", str(tmp_path / "page.html")] if command == "report" else []
    assert main([command, str(old), *more]) == 0


def test_an_old_store_compares_equal_with_itself(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(WRITTEN), str(old)]) == 0
    assert capsys.readouterr().out.count("| same numbers") == 2
