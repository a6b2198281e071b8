"""`new`: what it writes works as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.main import main
from bench.contract import check
from bench.plugins import registry
from bench.suites import expand, schema


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("kind", "folder_kind"), [("objective", "objectives"), ("dataset", "datasets")])
def test_a_new_plugin_keeps_the_contract(kind: str, folder_kind: registry.Kind, folder: Path) -> None:
    assert main(["new", kind, "a_first_try"]) == 0
    assert "my_" not in (folder / "a_first_try.py").read_text(encoding="utf-8").replace("my paper", "")
    assert registry.find(folder_kind, "a_first_try.py").name == "a_first_try"
    assert [finding for finding in check.check_plugin("a_first_try.py") if not finding.passed] == []


def test_a_new_suite_is_planned_with_an_objective_of_ones_own(folder: Path) -> None:
    assert main(["new", "objective", "mine"]) == main(["new", "suite", "trial"]) == 0
    (suite,) = schema.read_suite("trial.toml")
    assert suite.name == "trial"
    runs = expand.plan_runs([suite], expand.Selection(), "cpu")
    assert len(runs) == 3 * 5
    own = expand.plan_runs([suite], expand.Selection(objectives=("mine.py",), seeds=(0,)), "cpu")
    assert [run.entry for run in own] == ["mine (mine.py)"]


def test_no_file_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.py").write_text("kept", encoding="utf-8")
    assert main(["new", "objective", "mine"]) == 2
    assert "'mine.py' exists" in capsys.readouterr().err
    assert (folder / "mine.py").read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["objectiv", "mine"], "did you mean objective?"),
        (["objective", "Mine"], "got 'Mine'"),
        (["objective", "class"], "no word of Python"),
        (["dataset", "numpy"], "'numpy' is one"),
        (["suite", "../up"], "got '../up'"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(
    arguments: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert list(folder.iterdir()) == []
