"""A plug-in's file that does more than declare is refused in words, before it can end or hold up the command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.common.errors import UsageError
from bench.common.paths import ROOT
from bench.data.data_dir import data_dir
from bench.plugins import import_trial, registry
from bench.suites.expand import Selection, plan_runs
from bench.suites.schema import read_suite
from tests.runner.test_trusted_rows import suite

OBJECTIVE = '''
from __future__ import annotations
from typing import TYPE_CHECKING, Annotated
from bench.api import Linear, objective
if TYPE_CHECKING:
    from torch import Tensor
    from bench.api import Energy, Rng
{first}
@objective(family="test", source="this test")
def mine(energy: Energy, x: Tensor, rng: Rng, *, a: Annotated[{kind}, Linear(0.0, 1.0)] = 0.5) -> Tensor:
    """a E(x)"""
    return a * energy(x)
'''


def written(folder: Path, first: str = "", name: str = "mine.py", kind: str = "float", start: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(start + OBJECTIVE.format(first=first, kind=kind), encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        registry.find("objectives", str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_that_imports_for_types_alone_is_found(tmp_path: Path) -> None:
    assert registry.find("objectives", str(written(tmp_path))).parameters["a"].default == 0.5


def test_a_hyper_parameter_whose_type_is_for_type_checkers_alone_is_said(tmp_path: Path) -> None:
    assert "name 'Tensor' is not defined); import what they name outside" in refused(written(tmp_path, kind="Tensor"))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("import sys; sys.exit(0)", "mine.py:8 does not import: SystemExit: 0; a plug-in only declares"),
        ("raise SystemExit", "mine.py:8 does not import: SystemExit; a plug-in only declares"),
        ("import argparse; argparse.ArgumentParser().parse_args(['-x'])", "mine.py:8 does not import: SystemExit: 2"),
        ("import os; os._exit(0)", "mine.py does not import: it ended the process with exit code 0"),
        ("import os; os._exit(7)", "mine.py does not import: it ended the process with exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", "mine.py does not import: it was ended by SIGKILL"),
        ("import os; os.kill(os.getppid(), 0); 1 / 0", "mine.py:8 does not import: ZeroDivisionError"),
        ("input()", "mine.py:8 does not import"),
        ("raise KeyboardInterrupt", "mine.py does not import: it raised KeyboardInterrupt"),
        ("import nothing_of_this_name", "mine.py:8 does not import: ModuleNotFoundError"),
        ("def broken(:", "mine.py:8 does not import: SyntaxError"),
    ],
)
def test_a_file_that_does_more_than_declare_is_refused(tmp_path: Path, first: str, words: str) -> None:
    assert refused(written(tmp_path, first)).startswith(words)


def test_a_file_that_hangs_is_ended_once_for_all_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_trial, "LIMIT", 0.5)
    first = f"import os, time; open({str(tmp_path / 'pid')!r}, 'a').write(str(os.getpid()) + ' '); time.sleep(60)"
    path, began = written(tmp_path, first), time.monotonic()
    for _ in range(3):
        assert "it was not done after 0.5 s, and was ended" in refused(path)
    assert time.monotonic() - began < 2
    (pid,) = (tmp_path / "pid").read_text(encoding="utf-8").split()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_command_does_not_end_well_because_its_plugin_says_so(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(written(tmp_path, "import sys; sys.exit(0)"))]) == 2
    assert "put what runs under `if __name__" in capsys.readouterr().err


def test_what_a_file_prints_is_no_part_of_the_commands_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(written(tmp_path, "print('a word')"))]) == 0
    captured = capsys.readouterr()
    assert "a word" not in captured.out
    assert captured.err == "a word\n"


def test_a_file_of_the_project_is_imported_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "trial", lambda action: pytest.fail("a trial"))
    for name in registry.names("objectives"):
        registry.find("objectives", name)


def test_a_file_is_tried_once_and_again_when_it_is_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials: list[object] = []
    real = registry.trial
    monkeypatch.setattr(registry, "trial", lambda action: (trials.append(action), real(action))[1])
    path = written(tmp_path)
    registry.find("objectives", str(path))
    registry.find("objectives", str(path))
    assert len(trials) == 1
    written(tmp_path, "b = 1")
    registry.find("objectives", str(path))
    assert len(trials) == 2


def test_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    path = written(tmp_path, start="\ufeff")
    suite_file = suite(tmp_path)
    suite_file.write_text("\ufeff" + suite_file.read_text(encoding="utf-8"), encoding="utf-8")
    (spec,) = plan_runs(read_suite(str(suite_file)), Selection((str(path),), seeds=(0,)), "cpu")
    assert spec.objective.name == "mine"
    assert spec.objective.sha == registry.fingerprint.code(written(tmp_path / "without"))


@pytest.mark.parametrize("folder", ["a, b", "a [1]", "a [x,y=2] b", "[", "é ü", "'quoted\""])
def test_a_path_may_have_any_letter(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / folder, name="my file, 1.py")
    monkeypatch.chdir(tmp_path)
    for ref in (str(path), str(path.relative_to(tmp_path)), f"{path}[a=0.25]"):
        assert main(["show", ref]) == 0
    from bench.cli.options import joined

    assert joined([f"{path}[a=0.25]", "x,y[k=1,m=2]"]) == (f"{path}[a=0.25]", "x", "y[k=1,m=2]")
    selection = Selection(joined([f"{path}[a=0.25]"]), seeds=(0,))
    (spec,) = plan_runs(read_suite(str(suite(tmp_path / folder))), selection, "cpu")
    assert (spec.objective.ref, spec.objective.params) == (str(path), {"a": 0.25})
    assert registry.find("objectives", spec.objective.ref).path == path


@pytest.mark.parametrize("device", ["cuda:1", "cuda:0", "gpu", "", "cpu:3"])
def test_a_device_that_is_not_there_is_said(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--suite", "smoke", "--device", device]) == 2
    none = f"device {device} is not available: there are none"
    unknown = f"device must be auto, cpu, cuda or cuda:N; got '{device}'"
    assert (none if device.startswith("cuda") else unknown) in capsys.readouterr().err


OLD_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ASCII = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **OLD_LOCALE}


def test_a_run_needs_neither_a_home_nor_a_locale(tmp_path: Path) -> None:
    written(tmp_path, "é = 'ü'  # ×", start="# ü\n")
    options = ["--suite", str(suite(tmp_path)), "--out", "out", "--objective", "mine.py", "--seed", "0"]
    command = [sys.executable, "-m", "bench", "run", *options]
    done = subprocess.run(command, cwd=tmp_path, env=ASCII, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr.decode()
    assert b"1 ok" in done.stderr


def test_who_has_no_home_has_a_cache_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "XDG_CACHE_HOME", "EBM_BENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", nobody)
    assert data_dir().is_absolute()
    assert main(["show", "~nobody/mine.py"]) == 2


def test_a_name_that_an_old_locale_cannot_say_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "show", "é.py"]
    done = subprocess.run(command, cwd=tmp_path, env=ASCII, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"bench: an argument must be text in the encoding of the locale")


def test_a_plugin_that_ends_the_program_when_it_is_called_ends_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path)
    path.write_text(
        path.read_text(encoding="utf-8").replace("return a * energy(x)", "raise SystemExit(0)"), encoding="utf-8"
    )
    assert main(["check", str(path)]) == 3
    assert "SystemExit" in capsys.readouterr().out
    assert main(["plan", "--suite", str(suite(tmp_path)), "--objective", str(path)]) == 2
    assert "it called sys.exit(0)" in capsys.readouterr().err
