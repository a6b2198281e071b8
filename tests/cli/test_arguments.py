"""Odd command lines: whatever is typed ends in a documented exit code and never in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from bench.cli import main

ROOT = Path(__file__).resolve().parents[2]
CODES = {0, 1, 2, 3, 4, 130}
# the last words make each command end before it trains, measures or downloads anything
ENDS: dict[str, list[list[str]]] = {
    "run": [
        ["--suite", "nowhere"],
        ["--suite", "FOLDER/a.toml"],
        ["--suite", "smoke", "--objective", "nothing"],
        ["--suite", "smoke", "--shard", "3/2"],
        ["--suite", "smoke", "--shard", "1"],
    ],
    "slurm": [
        ["--suite", "nowhere"],
        ["--suite", "smoke", "--time", "soon"],
        ["--suite", "smoke", "--memory", "much"],
        ["--suite", "smoke", "--shards", "0"],
        ["--suite", "smoke", "--sbatch", "partition"],
        ["--suite", "smoke", "--submit"],
        ["--suite", "smoke", "--script", "FOLDER"],
        ["--suite", "smoke"],
    ],
    "merge": [["FOLDER", "--out", "FOLDER/x"], ["FOLDER/file"], ["FOLDER", "--out", "FOLDER"], []],
    "plan": [
        ["--suite", "nowhere"],
        ["--suite", "FOLDER"],
        ["--suite", "smoke", "--seed", "x"],
        ["--suite", "smoke", "--network", "n"],
        ["--suite", "smoke", "--gpu-tflops", "0"],
    ],
    "tune": [["--suite", "nowhere"], ["--suite", "FOLDER/a.toml"], ["--suite", "smoke", "--seed", "x"]],
    "restore": [["FOLDER/none.csv"], ["FOLDER/file"], ["FOLDER"]],
    "list": [[], ["nothing"], ["objectives"], [""]],
    "show": [["nothing"], ["[="], ["FOLDER/none.toml"], ["FOLDER/none.py"], ["FOLDER/broken.py"], ["FOLDER.toml"]],
    "table": [["FOLDER"], ["FOLDER/file"], ["FOLDER", "--update-page", "FOLDER/none.md"], ["--page", "FOLDER"]],
    "report": [["FOLDER"], ["FOLDER/file"], ["FOLDER", "--export", "FOLDER/file"]],
    "verdict": [["FOLDER"], ["FOLDER/file"]],
    "compare": [["FOLDER", "FOLDER"], ["FOLDER/file", "FOLDER"], ["FOLDER"]],
    "track": [["FOLDER", "--to", "tensorboard"], ["FOLDER/file", "--to", "mlflow"], ["FOLDER", "--to", "nowhere"]],
    "submit": [["FOLDER", "--objective", "FOLDER/none.py"], ["FOLDER/file", "--objective", "FOLDER/broken.py"]],
    "check-submission": [["FOLDER"], ["FOLDER/none"], ["FOLDER/file"], ["FOLDER", "--rerun", "x"]],
    "publish": [["FOLDER", "--out", "FOLDER/file"], ["FOLDER/none", "--out", "FOLDER/x"]],
    "verify": [["FOLDER"], ["FOLDER/file"], ["FOLDER/none"]],
    "regression": [
        ["--baseline", "FOLDER/none.json"],
        ["--baseline", "FOLDER/file"],
        ["--baseline", "FOLDER"],
        ["--report", "FOLDER/a.txt"],
        ["--benchmark", "FOLDER/none.json"],
        ["--benchmark", "FOLDER/file", "--benchmark", "FOLDER/file"],
        ["--objective", "nothing"],
        ["--self-test", "--rounds", "0"],
    ],
    "history": [["--history", "FOLDER/none"], ["--history", "FOLDER"], ["--history", "FOLDER/file"]],
    "update-baseline": [["--reason", " "], []],
    "check": [["nothing"], ["FOLDER/broken.py"], ["FOLDER"], ["[]"]],
    "data": [[], ["fetch", "nothing"], ["fetch", "digits"], ["fetch", "FOLDER/broken.py"], ["nothing"]],
    "cost": [["--objective", "nothing"], ["--rounds", "0"], ["--batch", "-1"], ["--scaling", "--overhead"]],
    "reference-metrics": [["--dataset", "nothing"], ["--dataset", "two_moons"], ["--samples", "2"]],
    "image-metrics": [["FOLDER"], ["FOLDER", "--inception", "FOLDER/file"], ["FOLDER/file"]],
    "audit": [["--objective", "nothing"], ["--objective", "FOLDER/broken.py"]],
    "new": [["nothing", "a"], ["objective", "A b"], ["dataset", "torch"], ["suite", ""]],
    "doctor": [["surplus"]],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "file").write_bytes(b"\xff\x00 no store")
    (tmp_path / "a.toml").write_text("name = [", encoding="utf-8")
    (tmp_path / "broken.py").write_text("def broken(:", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def exit_code(arguments: list[str], folder: Path) -> int:
    try:
        return main.main([word.replace("FOLDER", str(folder)) for word in arguments])
    except SystemExit as stop:
        return int(str(stop.code))


def test_every_command_has_an_end() -> None:
    assert ENDS.keys() == main.command_modules().keys()


@pytest.mark.parametrize("command", ENDS)
def test_bad_input_has_an_exit_code_and_no_traceback(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for end in ENDS[command]:
        code = exit_code([command, *end], folder)
        error = capsys.readouterr().err
        assert code in CODES, end
        assert "Traceback" not in error, end
        assert code == 0 or error.strip(), end


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["--nothing"], [""], ["run"], ["data"]])
def test_without_a_known_command_argparse_says_so(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(arguments, folder) == 2
    assert "usage: python -m bench" in capsys.readouterr().err


def test_mistakes_that_do_not_depend_on_each_other_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", "--suite", "nowhere", "--seed", "x", "--jobs", "0"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bench: 3 mistakes:\n")
    for word in ("nowhere", "--jobs must be at least 1", "'x'"):
        assert len([line for line in error.splitlines() if word in line]) == 1
    assert main.main(["plan", "--suite", "smoke", "--objective", "nothing,nobody", "--dataset", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bench: 3 mistakes:\n")
    assert all(name in error for name in ("nothing", "nobody", "nowhere"))


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"ebm-bench {metadata.version('ebm-bench')}")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ebm-bench regr", {"regression"}),
        ("ebm-bench run --suite verd", {"verdict", "verdict_plane"}),
        ("ebm-bench run --objective denoising_", {"denoising_score_matching"}),
        ("ebm-bench run --suite ", {"mine.toml"}),
        ("ebm-bench table --upd", {"--update-page"}),
    ],
)
def test_a_shell_is_offered_commands_options_names_and_files(typed: str, offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": typed, "COMP_POINT": str(len(typed)), "_ARGCOMPLETE_IFS": "\n"}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "out"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "bench"], cwd=tmp_path, env={**os.environ, **asked}, check=True)
    assert offered <= {word.strip() for word in (tmp_path / "out").read_text(encoding="utf-8").splitlines()}


def test_an_interrupt_is_130_and_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.command_modules()["doctor"], "run", interrupted)
    assert main.main(["doctor"]) == 130
    assert capsys.readouterr().err.count("\n") == 1
