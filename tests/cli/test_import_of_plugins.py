"""A plug-in that raises anything, or hangs, while it is imported: a sentence, for every command that takes plug-ins."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.common.plugin_source import FOLDERS
from bench.plugins import import_trial
from tests.cli.test_supervised import SUITE, bench

PLUGIN = '''
from torch import Tensor
from bench.api import Energy, Rng, objective

class Stop(KeyboardInterrupt): pass
class Own(BaseException): pass

FIRST

@objective(label="mine", family="other", minimiser="none", source="this test")
def mine(energy: Energy, x: Tensor, rng: Rng) -> Tensor:
    """E(x)."""
    return energy(x)
'''
RAISED = {
    "SystemExit": "raise SystemExit(0)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "Stop": "raise Stop('enough')",
    "GeneratorExit": "raise GeneratorExit",
    "Own": "raise Own('of its own')",
}
COMMANDS = {
    "check": ["check", "FOLDER/mine.py"],
    "show": ["show", "FOLDER/mine.py"],
    "plan": ["plan", "--suite", "FOLDER/mine.toml", "--seed", "0"],
    "run": ["run", "--suite", "FOLDER/mine.toml", "--seed", "0", "--out", "FOLDER/out"],
}


def words(command: str, folder: Path, first: str) -> list[str]:
    """The words of a command on a plug-in that begins so."""
    (folder / "mine.py").write_text(PLUGIN.replace("FIRST", first), encoding="utf-8")
    (folder / "mine.toml").write_text(SUITE.format(file=folder / "mine.py"), encoding="utf-8")
    return [word.replace("FOLDER", str(folder)) for word in COMMANDS[command]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("raised", RAISED)
def test_whatever_it_raises_is_a_sentence(
    command: str, raised: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(command, tmp_path, RAISED[raised])) == 2
    error = capsys.readouterr().err
    assert "mine.py" in error
    assert "does not import" in error
    assert raised in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", COMMANDS)
def test_one_that_hangs_is_ended_with_a_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_trial, "LIMIT", 0.5)
    given, began = words(command, tmp_path, "import time; time.sleep(600)"), time.monotonic()
    assert main(given) == 2
    assert "it was not done after 0.5 s, and was ended" in capsys.readouterr().err
    assert time.monotonic() - began < 60


def test_a_program_of_its_own_says_the_same(tmp_path: Path) -> None:
    """`check` and `plan` do their work in a child, whose interrupt is nobody's who sits before the screen."""
    process = bench(*words("check", tmp_path, RAISED["Stop"]), cwd=tmp_path)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2, error
    assert "does not import: it raised Stop enough" in error
    assert "Traceback" not in error


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_a_program_of_its_own_ends_one_that_hangs(command: str, tmp_path: Path) -> None:
    process = bench(*words(command, tmp_path, "import time; time.sleep(600)"), cwd=tmp_path)
    _, error = process.communicate(timeout=200)
    assert process.returncode == 2, error
    assert "it was not done after 30 s, and was ended" in error
    assert "Traceback" not in error


def test_list_imports_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words("check", tmp_path, "raise Own")
    monkeypatch.setitem(FOLDERS, "objectives", tmp_path)
    assert main(["list", "objectives"]) == 0
    assert "mine" in capsys.readouterr().out
