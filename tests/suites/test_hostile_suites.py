"""Suites that would take for ever, or all memory, are refused in a sentence at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.cli import main
from bench.common.errors import UsageError
from bench.common.references import parse_seeds
from bench.results import tables
from bench.suites.schema import read_suite

SUITE = 'name = "NAME"\nobjectives = ["denoising_score_matching"]\ndatasets = ["two_moons"]\n'


def write(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def includes(*refs: str) -> str:
    return f"include = {list(refs)!r}"


def refused(ref: str) -> str:
    began = time.monotonic()
    with pytest.raises(UsageError) as caught:
        read_suite(ref)
    assert time.monotonic() - began < 2
    return str(caught.value)


def test_what_many_lists_include_is_read_once(tmp_path: Path) -> None:
    ref = write(tmp_path, "leaf", SUITE.replace("NAME", "leaf"))
    for k in range(20):
        ref = write(tmp_path, f"list{k}", includes(*[ref] * 8))
    began = time.monotonic()
    assert [suite.name for suite in read_suite(ref)] == ["leaf"]
    assert time.monotonic() - began < 2


def test_there_is_an_end_to_files_and_to_bases(tmp_path: Path) -> None:
    ref = write(tmp_path, "leaf", SUITE.replace("NAME", "leaf"))
    wide = [write(tmp_path, f"part{k}", SUITE.replace("NAME", f"part{k}")) for k in range(150)]
    assert "at most 100 files" in refused(write(tmp_path, "wide", includes(*wide)))
    base = ref
    for k in range(150):
        base = write(tmp_path, f"base{k}", f'base = "{base}"')
    assert "at most 100 bases" in refused(base)
    for k in range(150):
        ref = write(tmp_path, f"deep{k}", includes(ref))
    assert "at most 100 files" in refused(ref)


def test_a_circle_is_named(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one.toml"), str(tmp_path / "other.toml")
    write(tmp_path, "one", includes(other))
    write(tmp_path, "other", includes(one))
    assert "includes itself" in refused(one)


def test_a_file_that_is_too_large_or_too_deep_is_refused(tmp_path: Path) -> None:
    assert "at most 1048576 bytes" in refused(write(tmp_path, "large", "#" * (2 << 20)))
    assert "not readable TOML" in refused(write(tmp_path, "deep", f"a = {'[' * 100_000}"))


@pytest.mark.parametrize("text", ["0-99999999999", "0-" + "9" * 90, "99999999999", "0-1000000"])
def test_more_seeds_than_anybody_runs_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="at most 10000 seeds"):
        parse_seeds(text)


def test_a_name_that_goes_on_for_ever_is_not_printed_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "long", SUITE.replace("NAME", "a" * 500_000))
    assert main.main(["plan", "--suite", path]) == 2
    assert len(capsys.readouterr().err) < 3000


def test_what_a_plugin_can_name_is_no_formula_and_no_markup() -> None:
    import pandas as pd

    table = pd.DataFrame(
        {"label": ["=1+1", "-3.5", "@SUM(A1)", "a|b<script>", "+x\ny"], "value": [-1.0, 2.0, 3.0, 4.0, 5.0]}
    )
    csv = tables.table_text(table, ".csv")
    assert "'=1+1,-1.0\n-3.5,2.0\n'@SUM(A1),3.0\n" in csv
    assert '"\'+x\ny"' in csv
    markdown = tables.table_text(table, ".md")
    assert "a\\|b&lt;script>" in markdown
    assert len(markdown.splitlines()) == 2 + len(table)
